"""Rendered videos in, ``tiny.safetensors`` and its measured model card out.

    python -m tools.pretrain_tiny                                       # the shipped weights; about half an hour on one core
    python -m tools.pretrain_tiny --steps 50 --clips 500 --out try --card try/card.json

Clean past, noised future, clean-frame loss on the future (diffusion with x0-prediction; half to three quarters of
the clips have pure noise, the regime in which features are read). Needs ``pip install '.[pretrain]'``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.loaded import fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.tiny.tiny import new_model, predict
from tools.videos import MIXTURE, clips, play

HORIZON = 2  # the future slot shows the frame this many steps ahead; far enough that copying the last frame is wrong
OFFSETS = (*range(1 - tiny.PAST, 1), HORIZON)
PURE_NOISE_SHARE = 0.7
EPISODES = {"layerscout/Intercept-v0": 6000, "layerscout/Grid-v0": 200}  # others: 120
WEIGHTS = Path(tiny.__file__).parent / "weights"


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    training = gather(arguments.clips, seed=1, rng=rng)
    held_out = {name: clips(play(name, max(20, EPISODES.get(name, 120) // 20), seed=2), OFFSETS, 400, rng)[0] for name in MIXTURE}
    model = new_model(arguments.seed + 1)
    average, curve = train(model, training, held_out, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in average.state_dict().items()}, arguments.out / "tiny.safetensors")
    block = average.transformer_blocks[0]
    facts = {"parameters": count(average), "parameters_per_block": count(block)}
    (arguments.out / "tiny.json").write_text(json.dumps(facts, indent=1) + "\n")
    card = {
        "command": f"python -m tools.pretrain_tiny --steps {arguments.steps} --batch {arguments.batch} --clips {arguments.clips} --seed {arguments.seed}",
        "torch": torch.__version__,
        "mixture": MIXTURE,
        "horizon": HORIZON,
        **facts,
        "curve": curve,
        "held_out": {name: errors(average, frames) for name, frames in held_out.items()},
    }
    arguments.card.parent.mkdir(parents=True, exist_ok=True)
    arguments.card.write_text(json.dumps(card, indent=1) + "\n")


def gather(total: int, seed: int, rng: np.random.Generator) -> Tensor:
    """Return training clips of every environment in the shares of the mixture, uint8 [clip, time, height, width, channel]."""
    parts = []
    for name, share in MIXTURE.items():
        parts.append(clips(play(name, EPISODES.get(name, 120), seed), OFFSETS, int(total * share), rng)[0])
        print(f"{name}: {len(parts[-1])} clips", flush=True)
    return torch.from_numpy(np.concatenate(parts))


def train(
    model: nn.Module, data: Tensor, held_out: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[nn.Module, list[dict[str, float]]]:
    """AdamW, warm-up and cosine, weights averaged over the last stretch (EMA); returns the average and the loss curve."""
    average = new_model(arguments.seed + 1)
    optimiser = torch.optim.AdamW(model.parameters(), arguments.lr, weight_decay=0.01, betas=(0.9, 0.95))
    curve, smooth, began = [], math.nan, time.time()
    for step in range(arguments.steps):
        warm = min(1.0, (step + 1) / 200)
        for group in optimiser.param_groups:
            group["lr"] = arguments.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / arguments.steps)))
        loss = denoising_loss(model, scale_pixels(data[torch.randint(len(data), (arguments.batch,))]))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % arguments.log == 0 or step + 1 == arguments.steps:
            intercept = errors(average, held_out["layerscout/Intercept-v0"])
            curve.append(
                {
                    "step": step + 1,
                    "loss": round(smooth, 5),
                    "held_out_intercept": intercept["model"],
                    "seconds": round(time.time() - began),
                }
            )
            print(curve[-1], flush=True)
    return average.eval(), curve


def denoising_loss(model: nn.Module, frames: Tensor) -> Tensor:
    """Mean squared error of the clean future frame; noise level 1 for most clips, uniform for the rest."""
    batch = len(frames)
    level = torch.where(torch.rand(batch) < PURE_NOISE_SHARE, torch.ones(batch), torch.rand(batch).clamp(0.05, 0.98)).view(-1, 1, 1, 1, 1)
    future = frames[:, tiny.PAST :]
    noised = (1 - level) * future + level * torch.randn_like(future)
    timestep = (level.flatten() * tiny.PURE_NOISE).long()
    predicted = predict(model, torch.cat([frames[:, : tiny.PAST], noised], dim=1), timestep)
    return ((predicted[:, tiny.PAST :] - future) ** 2).mean()


@torch.no_grad()
def errors(model: nn.Module, frames: np.ndarray) -> dict[str, float]:
    """Held-out squared error of the predicted future frame, beside copying the last frame and the untrained model."""
    clean = scale_pixels(torch.from_numpy(frames))
    future, last = clean[:, tiny.PAST :], clean[:, tiny.PAST - 1 : tiny.PAST]
    noise = fixed_noise((1, tiny.FUTURE, 3, tiny.SIZE, tiny.SIZE), tiny.NOISE_SEED).expand(len(clean), -1, -1, -1, -1)
    steps = torch.full((len(clean),), tiny.PURE_NOISE)
    inputs = torch.cat([clean[:, : tiny.PAST], noise], dim=1)

    def squared(candidate: nn.Module) -> float:
        return round(((predict(candidate, inputs, steps)[:, tiny.PAST :] - future) ** 2).mean().item(), 5)

    return {
        "model": squared(model),
        "copy_last_frame": round(((last - future) ** 2).mean().item(), 5),
        "untrained": squared(new_model(tiny.UNTRAINED_SEED)),
    }


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=14000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clips", type=int, default=160_000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=int, default=250)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--card", type=Path, default=Path("docs/models/tiny-training.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
