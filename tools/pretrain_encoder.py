"""Rendered videos in, a small VideoMAE checkpoint as transformers saves it and its measured record out.

    python -m tools.pretrain_encoder                                       # the shipped checkpoint; about 8 minutes of one core
    python -m tools.pretrain_encoder --steps 50 --clips 500 --out try

Masked autoencoding of four frames of ``tiny``'s videos: 12 of 32 tokens are hidden, anew for every clip, and their pixels are painted.
``layerscout extract videomae:FOLDER`` reads the folder like any other. Needs ``pip install '.[pretrain,transformers]'``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from layerscout.extract.backbones.encoders.encoders import IMAGENET
from tools.videos import MIXTURE, SIZE, clips, play

FRAMES, TUBELET, PATCH = 4, 2, 8
TOKENS = (FRAMES // TUBELET) * (SIZE // PATCH) ** 2
HIDDEN = 12  # tokens of a clip that the encoder does not see
OFFSETS = tuple(range(1 - FRAMES, 1))
EPISODES = {"layerscout/Intercept-v0": 2000, "layerscout/Grid-v0": 200}  # others: 40
FOLDER = Path(__file__).parents[1] / "experiments" / "registered" / "encoder"
RECORD = "pretraining.json"


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(arguments.seed)
    training = gather(arguments.clips, rng)
    held_out = {name: clips(play(name, EPISODES.get(name, 240) // 20, seed=2), OFFSETS, 400, rng)[0] for name in MIXTURE}
    average, curve = train(training, held_out, arguments)
    average.half().save_pretrained(arguments.out)
    record = {
        "command": f"python -m tools.pretrain_encoder --steps {arguments.steps} --batch {arguments.batch} --clips {arguments.clips} --seed {arguments.seed}",
        "torch": torch.__version__,
        "mixture": MIXTURE,
        "parameters": sum(one.numel() for one in average.parameters()),
        "parameters_of_the_encoder": sum(one.numel() for one in average.videomae.parameters()),
        "curve": curve,
        "held_out": {name: errors(average.float(), training[name], frames) for name, frames in held_out.items()},
    }
    (arguments.out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    for name, found in record["held_out"].items():
        print(name, found, flush=True)


def gather(total: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return training clips of every environment in the shares of the mixture, uint8 [clip, time, height, width, channel]."""
    return {name: clips(play(name, EPISODES.get(name, 40), seed=1), OFFSETS, int(total * share), rng)[0] for name, share in MIXTURE.items()}


def new_model(seed: int) -> VideoMAEForPreTraining:
    """Return the architecture with first weights: eight blocks of width 64, a decoder of two.

    The library's deviation of 0.02 is one for widths of 768; 0.1 is as much for 64, near 1/sqrt(64).
    """
    torch.manual_seed(seed)
    sides = {"hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 256}
    painter = {
        "decoder_hidden_size": 64,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 256,
    }
    shape = {"image_size": SIZE, "patch_size": PATCH, "num_frames": FRAMES, "tubelet_size": TUBELET}
    return VideoMAEForPreTraining(
        VideoMAEConfig(**shape, **sides, **painter, initializer_range=0.1, norm_pix_loss=False, use_mean_pooling=False)
    )


def train(
    data: dict[str, np.ndarray], held_out: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[VideoMAEForPreTraining, list[dict[str, float]]]:
    """AdamW, warm-up and cosine; returns the running average of the weights and the curve of losses."""
    model, average = new_model(arguments.seed), new_model(arguments.seed)
    frames = torch.from_numpy(np.concatenate(list(data.values())))
    optimiser = torch.optim.AdamW(model.parameters(), arguments.lr, weight_decay=0.05, betas=(0.9, 0.95))
    curve, smooth, began = [], math.nan, time.process_time()
    for step in range(arguments.steps):
        warm = min(1.0, (step + 1) / 200)
        for group in optimiser.param_groups:
            group["lr"] = arguments.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / arguments.steps)))
        batch = scaled(frames[torch.randint(len(frames), (arguments.batch,))])
        loss = model(batch, bool_masked_pos=hidden_tokens(arguments.batch)).loss
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            kept = min(0.999, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - kept)
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % arguments.log == 0 or step + 1 == arguments.steps:
            of_intercept = painting_error(average, held_out["layerscout/Intercept-v0"])
            curve.append({"step": step + 1, "loss": round(smooth, 5), "held_out_intercept": of_intercept})
            print(curve[-1], f"{time.process_time() - began:.0f} CPU s", flush=True)
    return average.eval(), curve


def hidden_tokens(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw which tokens of ``count`` clips are hidden: bool [clip, token], as many in every clip."""
    return torch.rand(count, TOKENS, generator=generator).argsort(dim=1) < HIDDEN


def scaled(frames: Tensor) -> Tensor:
    """uint8 [clip, time, height, width, channel] to what the model takes, [clip, time, channel, height, width], normalised as VideoMAE does."""
    mean, deviation = (torch.tensor(values) for values in IMAGENET)
    return ((frames / 255 - mean) / deviation).permute(0, 1, 4, 2, 3)


@torch.no_grad()
def painting_error(model: nn.Module, frames: np.ndarray) -> float:
    """Mean squared error of hidden pixels in [0, 1]; the same tokens are hidden whoever paints."""
    hidden = hidden_tokens(len(frames), torch.Generator().manual_seed(0))
    return round(float(model(scaled(torch.from_numpy(frames)), bool_masked_pos=hidden).loss), 5)


def errors(model: nn.Module, training: np.ndarray, frames: np.ndarray) -> dict[str, float]:
    """Held-out error of hidden pixels, beside that of an environment's mean picture and of the untrained model."""
    mean = training.mean(axis=(0, 1), dtype=np.float64) / 255
    apart = ((frames / 255 - mean) ** 2).mean(axis=-1)  # clip, time, height, width
    side = SIZE // PATCH
    tokens = (
        apart.reshape(len(frames), FRAMES // TUBELET, TUBELET, side, PATCH, side, PATCH).mean(axis=(2, 4, 6)).reshape(len(frames), TOKENS)
    )
    hidden = hidden_tokens(len(frames), torch.Generator().manual_seed(0)).numpy()
    return {
        "model": painting_error(model, frames),
        "mean_picture": round(float(tokens[hidden].mean()), 5),
        "untrained": painting_error(new_model(0).eval(), frames),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clips", type=int, default=40_000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=int, default=250)
    parser.add_argument("--out", type=Path, default=FOLDER)
    return parser.parse_args()


if __name__ == "__main__":
    main()
