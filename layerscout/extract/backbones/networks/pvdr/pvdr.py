"""The folder of a model of visual dynamics in, its networks out; and the model as a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone, digest_tensors, require_told
from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.extract.backbones.pvdr import WEIGHTS, PvdrShape
from layerscout.extract.checkpoints.states import fitted, read_state

PARTS = ("tokenizer", "dynamics")  # prefixes of the names of weights


def new_networks(shape: PvdrShape, seed: int) -> tuple[FrameTokenizer, VisualDynamics]:
    """Return both networks with random weights drawn from ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FrameTokenizer(shape), VisualDynamics(shape)


def read_networks(folder: Path, shape: PvdrShape, told: str | None = None) -> tuple[FrameTokenizer, VisualDynamics]:
    """Return both networks with the weights of a folder, frozen and in evaluation mode.

    Parameters
    ----------
    told
        The digest that was told of the weights, if one was.

    Raises
    ------
    DataError
        There are no weights, they do not fit the shape, or they do not have that digest any more.
    """
    state, networks = require_told(read_state(folder / WEIGHTS), told, f"the weights of {folder}"), new_networks(shape, 0)
    for part, network in zip(PARTS, networks, strict=True):
        own = {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}
        network.load_state_dict(fitted(network.state_dict(), own, f"the weights of {folder}"))
        network.eval().requires_grad_(False)
    return networks


def weights_digest(folder: Path) -> str:
    """Return "sha256:…" over the tensors of the folder's weight file, whatever the file's layout."""
    return digest_tensors(read_state(folder / WEIGHTS))


class LoadedPvdr(LoadedBackbone):
    """The model in memory: frames to tokens, encoder over the clip, prior over its last frames, decoder with the prior's mean.

    The tokenizer is what stands before the model, like a VAE: it is not among the layers.
    """

    def __init__(
        self, folder: Path, shape: PvdrShape, device: torch.device, dtype: torch.dtype | None = None, told: str | None = None
    ) -> None:
        self.device, self.shape, self.dtype = device, shape, dtype or torch.float32
        tokenizer, dynamics = read_networks(folder, shape, told)
        self.tokenizer = tokenizer.to(device)  # tokens are chosen in float32 whatever the rest computes in
        self.module: VisualDynamics = dynamics.to(device, self.dtype)
        self._blocks = {part: trunk.blocks for part, trunk in self._trunks().items()}
        self._last = "decoder"

    def _trunks(self) -> dict[str, Any]:
        return {"encoder": self.module.encoder.trunk, "prior": self.module.prior.trunk, "decoder": self.module.decoder}

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Tokenise frames at [-0.5, 0.5], then run encoder, prior and decoder up to the part that the pass ends in."""
        frames = clip.permute(0, 1, 4, 2, 3).to(torch.float32) / 255.0 - 0.5
        tokens = self.tokenizer.encode(frames.flatten(0, 1)).unflatten(0, clip.shape[:2])
        self.module.encoder(tokens)
        if self._last == "encoder":
            return
        past = tokens[:, -self.shape.history :]
        expected = self.module.prior(past)
        if self._last == "decoder":
            self.module.imagine(expected.mean, past)

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """Places of all times in one row; of z its mean, as one token."""
        if layer.grid is not None and layer.grid.tokens == 1:
            return output[:, None, : self.shape.z]  # the mean; what follows it is the logarithm of the deviation
        return output.flatten(1, 2)

    def truncate(self, last: LayerInfo) -> None:
        """End in the part, and in the block of its transformer, that ``last`` names; all blocks stay in memory."""
        part, *_ = last.module.split(".")
        self._last = part
        for name, trunk in self._trunks().items():
            trunk.blocks = self._blocks[name]
        if ".blocks." in last.module:
            number = int(last.module.rpartition(".")[2])
            self._trunks()[part].blocks = nn.ModuleList(list(self._blocks[part])[: number + 1])
