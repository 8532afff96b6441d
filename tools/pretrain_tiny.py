"""Rendered videos in, the safetensors of an embedded backbone and its measured model card out.

    python -m tools.pretrain_tiny                                       # tiny's shipped weights; about half an hour on one core
    python -m tools.pretrain_tiny tiny-2                                # tiny-2's
    python -m tools.pretrain_tiny --steps 50 --clips 500 --out try --card try/card.json

Clean past, noised future, clean-frame loss on the future (diffusion with x0-prediction; half to three quarters of
the clips have pure noise, the regime in which features are read). Needs ``pip install '.[pretrain]'``.
With ``--checkpoint FILE`` the run is kept there at every point of its curve, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from layerscout.cache.durable import whole_file
from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.loaded import fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.tiny.tiny import new_model, predict
from layerscout.extract.backbones.networks.tiny.transformer import TinyTransformer
from tools.tiny_recipes import RECIPES, Recipe
from tools.videos import clips, play

HORIZON = 2  # the future slot shows the frame this many steps ahead; far enough that copying the last frame is wrong
OFFSETS = (*range(1 - tiny.PAST, 1), HORIZON)
PURE_NOISE_SHARE = 0.7
INTERCEPT = "layerscout/Intercept-v0"
WEIGHTS = Path(tiny.__file__).parent / "weights"

Clips = dict[str, np.ndarray]  # environment → uint8 [clip, time, height, width, channel]


def main() -> None:
    arguments = parse()
    recipe = RECIPES[arguments.model]
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    training = gather(recipe, arguments.clips, seed=1, rng=rng)
    held_out = {name: few(recipe, name, rng) for name in recipe.mixture}
    unseen = {name: few(recipe, name, rng) for name in recipe.unseen}
    average, curve = train(recipe, training, held_out, unseen, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    shipped = {name: tensor.half() if recipe.half else tensor.contiguous() for name, tensor in average.state_dict().items()}
    average.load_state_dict(shipped)  # what is measured is what is shipped
    save_file(shipped, arguments.out / f"{recipe.model}.safetensors")
    facts = {"parameters": count(average), "parameters_per_block": count(average.transformer_blocks[0])}
    (arguments.out / f"{recipe.model}.json").write_text(json.dumps(facts, indent=1) + "\n")
    card = {
        "command": command(recipe, arguments),
        "torch": torch.__version__,
        "mixture": recipe.mixture,
        "horizon": HORIZON,
        **facts,
        "curve": curve,
        "held_out": {name: errors(average, frames, recipe.model) for name, frames in held_out.items()},
    }
    if unseen:
        card["unseen"] = {name: errors(average, frames, recipe.model) for name, frames in unseen.items()}
    arguments.card.parent.mkdir(parents=True, exist_ok=True)
    arguments.card.write_text(json.dumps(card, indent=1) + "\n")


def command(recipe: Recipe, arguments: argparse.Namespace) -> str:
    """Return the words that train this once more; the first of the recipes needs no name."""
    which = "" if recipe.model == "tiny" else f"{recipe.model} "
    settings = f"--steps {arguments.steps} --batch {arguments.batch} --clips {arguments.clips} --seed {arguments.seed}"
    return f"python -m tools.pretrain_tiny {which}{settings}"


def gather(recipe: Recipe, total: int, seed: int, rng: np.random.Generator) -> Tensor:
    """Return training clips of every environment in the shares of the mixture, uint8 [clip, time, height, width, channel]."""
    parts = []
    for name, share in recipe.mixture.items():
        videos = play(name, recipe.episodes.get(name, recipe.usual_episodes), seed)
        parts.append(clips(videos, OFFSETS, int(total * share), rng)[0])
        print(f"{name}: {len(parts[-1])} clips", flush=True)
    return torch.from_numpy(np.concatenate(parts))


def few(recipe: Recipe, name: str, rng: np.random.Generator) -> np.ndarray:
    """Return 400 clips of an environment from episodes that no training plays."""
    episodes = max(20, recipe.episodes.get(name, recipe.usual_episodes) // 20)
    return clips(play(name, episodes, seed=2), OFFSETS, 400, rng)[0]


def train(
    recipe: Recipe, data: Tensor, held_out: Clips, unseen: Clips, arguments: argparse.Namespace
) -> tuple[TinyTransformer, list[dict[str, float]]]:
    """AdamW, warm-up and cosine, weights averaged over the last stretch (EMA); returns the average and the loss curve."""
    model, average = (new_model(arguments.seed + 1, recipe.model) for _ in range(2))
    optimiser = torch.optim.AdamW(model.parameters(), arguments.lr, weight_decay=0.01, betas=(0.9, 0.95))
    run = Run(model, average, optimiser)
    if arguments.checkpoint and arguments.checkpoint.exists():
        run.read(arguments.checkpoint)
    began = time.time() - (run.curve[-1]["seconds"] if run.curve else 0)
    for step in range(run.step, arguments.steps):
        warm = min(1.0, (step + 1) / 200)
        for group in optimiser.param_groups:
            group["lr"] = arguments.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / arguments.steps)))
        drawn = data[torch.randint(len(data), (arguments.batch,))]
        loss = denoising_loss(model, scale_pixels(vary(drawn) if recipe.varied else drawn))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        run.smooth = loss.item() if math.isnan(run.smooth) else 0.98 * run.smooth + 0.02 * loss.item()
        run.step = step + 1
        if run.step % arguments.log == 0 or run.step == arguments.steps:
            point = {"step": run.step, "loss": round(run.smooth, 5), "held_out_intercept": squared(average, held_out[INTERCEPT])}
            if unseen:
                point["unseen"] = round(float(np.mean([squared(average, frames[:100]) for frames in unseen.values()])), 5)
            run.curve.append(point | {"seconds": round(time.time() - began)})
            print(run.curve[-1], flush=True)
            if arguments.checkpoint:
                run.write(arguments.checkpoint)
    return average.eval(), run.curve


class Run:
    """A training under way, which a file can keep."""

    def __init__(self, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.parts: dict[str, Any] = {"model": model, "average": average, "optimiser": optimiser}
        self.step, self.smooth = 0, math.nan
        self.curve: list[dict[str, float]] = []

    def write(self, path: Path) -> None:
        """Put down the run; the file there before is replaced by a whole one."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": self.step, "smooth": self.smooth, "curve": self.curve, "random": torch.get_rng_state()}
        with whole_file(path) as file:
            torch.save(state, file)

    def read(self, path: Path) -> None:
        """Go on where ``write`` was, with the same random numbers."""
        state = torch.load(path)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.step, self.smooth, self.curve = state["step"], state["smooth"], state["curve"]
        torch.set_rng_state(state["random"])


def vary(frames: Tensor) -> Tensor:
    """Mirror half of the clips left to right and exchange the colours of half of them, the same in all frames of a clip.

    Of Intercept neither changes what is likely: its background's colours are drawn at random, and its balls fly left and right alike.
    """
    count = len(frames)
    colours = torch.where(torch.rand(count, 1) < 0.5, torch.rand(count, 3).argsort(dim=1), torch.arange(3))
    frames = frames.gather(4, colours[:, None, None, None].expand_as(frames))
    return torch.where(torch.rand(count, 1, 1, 1, 1) < 0.5, frames.flip(3), frames)


def denoising_loss(model: nn.Module, frames: Tensor) -> Tensor:
    """Mean squared error of the clean future frame; noise level 1 for most clips, uniform for the rest."""
    batch = len(frames)
    level = torch.where(torch.rand(batch) < PURE_NOISE_SHARE, torch.ones(batch), torch.rand(batch).clamp(0.05, 0.98)).view(-1, 1, 1, 1, 1)
    future = frames[:, tiny.PAST :]
    noised = (1 - level) * future + level * torch.randn_like(future)
    timestep = (level.flatten() * tiny.PURE_NOISE).long()
    predicted = predict(model, torch.cat([frames[:, : tiny.PAST], noised], dim=1), timestep)
    return ((predicted[:, tiny.PAST :] - future) ** 2).mean()


def errors(model: nn.Module, frames: np.ndarray, name: str) -> dict[str, float]:
    """Held-out squared error of the predicted future frame, beside copying the last frame and the untrained model."""
    return {
        "model": squared(model, frames),
        "copy_last_frame": copying(frames),
        "untrained": squared(new_model(tiny.UNTRAINED_SEED, name), frames),
    }


def copying(frames: np.ndarray) -> float:
    """Squared error of saying that nothing will have moved."""
    clean = scale_pixels(torch.from_numpy(frames))
    return round(((clean[:, tiny.PAST - 1 : tiny.PAST] - clean[:, tiny.PAST :]) ** 2).mean().item(), 5)


@torch.no_grad()
def squared(model: nn.Module, frames: np.ndarray) -> float:
    """Squared error of the future frame that a model predicts from pure noise in its slot, pixels in [-1, 1]."""
    clean = scale_pixels(torch.from_numpy(frames))
    noise = fixed_noise((1, tiny.FUTURE, 3, tiny.SIZE, tiny.SIZE), tiny.NOISE_SEED).expand(len(clean), -1, -1, -1, -1)
    steps = torch.full((len(clean),), tiny.PURE_NOISE)
    predicted = predict(model, torch.cat([clean[:, : tiny.PAST], noise], dim=1), steps)
    return round(((predicted[:, tiny.PAST :] - clean[:, tiny.PAST :]) ** 2).mean().item(), 5)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=RECIPES, default="tiny")
    parser.add_argument("--steps", type=int, help="default: the recipe's, as of the next two and --log")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=int)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--card", type=Path, help="default: docs/models/MODEL-training.json")
    parser.add_argument("--checkpoint", type=Path, help="a file that keeps the run")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.model]
    for name in ("steps", "clips", "log"):
        if getattr(arguments, name) is None:
            setattr(arguments, name, getattr(recipe, name))
    arguments.card = arguments.card or Path(f"docs/models/{recipe.model}-training.json")
    return arguments


if __name__ == "__main__":
    main()
