"""The embedded video-diffusion transformer in memory: clean past frames and noise for the future in, one pass."""

from __future__ import annotations

import threading
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone, fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.tiny.scratch import Scratch, used
from layerscout.extract.backbones.networks.tiny.transformer import TinyTransformer
from layerscout.extract.backbones.tiny import ARCHITECTURES, FUTURE, NOISE_SEED, PURE_NOISE, SIZE, TEXT_WIDTH, UNTRAINED_SEED


def new_model(seed: int, model: str = "tiny") -> TinyTransformer:
    """Build a model's transformer with random weights drawn from ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyTransformer(ARCHITECTURES[model])


def predict(
    model: nn.Module, frames: Float[Tensor, "clip time channel height width"], timestep: Tensor
) -> Float[Tensor, "clip time channel height width"]:
    """Predict clean frames; the first ``PAST`` input frames are clean, the rest noised to ``timestep``."""
    text = frames.new_zeros(len(frames), 1, TEXT_WIDTH)
    return model(frames, text, timestep)


class Tiny(LoadedBackbone):
    """The transformer of ``model`` in memory; with the weights of a safetensors file's bytes, or random ones."""

    def __init__(self, model: str, weights: bytes | None, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.device, dtype = device, dtype or torch.float32
        self.module: TinyTransformer = new_model(UNTRAINED_SEED, model)
        if weights is not None:
            from safetensors.torch import load

            self.module.load_state_dict(load(weights))  # float16 is widened
        self.module.eval().requires_grad_(False).to(device, dtype)
        self._blocks = self.module.transformer_blocks
        self._scratch = threading.local()  # a piece of memory for each thread that runs passes
        self._noise = fixed_noise((1, FUTURE, 3, SIZE, SIZE), NOISE_SEED).to(device, dtype)

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Join frames in [-1, 1] with fixed noise for the future, and run the blocks at the time of pure noise, without text."""
        past = scale_pixels(clip).to(self._noise.dtype)
        frames = torch.cat([past, self._noise.expand(len(past), -1, -1, -1, -1)], dim=1)
        text, times = frames.new_zeros(len(past), 1, TEXT_WIDTH), torch.full((len(past),), PURE_NOISE, device=self.device)
        if not hasattr(self._scratch, "memory"):
            self._scratch.memory = Scratch()
        with used(self._scratch.memory if torch.is_inference_mode_enabled() else None):
            self.module.run_blocks(frames, text, times)  # nobody reads the predicted frames

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """The video tokens of a block's answer, whose second part is the text."""
        return output[0]

    def truncate(self, last: LayerInfo) -> None:
        """Keep the blocks up to ``last`` in the model's list; all of them stay in memory."""
        self.module.transformer_blocks = self._blocks[: last.depth + 1]
