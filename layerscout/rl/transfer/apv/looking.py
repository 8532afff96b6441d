"""The pretrained model in memory as a backbone: clips in, one pass over all their frames, hooks see every layer once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone, require_told
from layerscout.extract.backbones.modules import from_module
from layerscout.rl.transfer.apv.action_free import ActionFree
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.folder import PretrainedModel
from layerscout.rl.transfer.apv.keeping import read_weights
from layerscout.rl.transfer.apv.rssm import RSSM, Seen

PLACES = {"encoder.": "encoder.", "rssm.": "gru.rssm."}  # where weights of the model go; the decoder is not run


class Recurrence(nn.Module):
    """The recurrent model over a whole clip, as one module."""

    def __init__(self, rssm: RSSM) -> None:
        super().__init__()
        self.rssm = rssm

    def forward(self, embedded: Float[Tensor, "clip time embedding"]) -> tuple[Float[Tensor, "clip time deter"], Seen]:
        """Start every clip from the zero state and return the recurrent states, and all that was inferred."""
        first = torch.zeros(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
        seen = self.rssm.observe(embedded, first, None)
        return seen.features[..., -self.rssm.sizes.deter :], seen


class LookingModel(nn.Module):
    """Encoder and recurrent model, in which every layer is one module that runs once a pass."""

    def __init__(self, sizes: APVModelConfig) -> None:
        super().__init__()
        whole = ActionFree(sizes)
        self.encoder, self.gru = whole.encoder, Recurrence(whole.rssm)
        self.latents, self.features = nn.Identity(), nn.Identity()

    def forward(self, pictures: Float[Tensor, "clip time channel height width"]) -> Float[Tensor, "clip time feature"]:
        """Return the features of every frame of pictures in [−½, ½]; the latents pass as probabilities of their classes."""
        _, seen = self.gru(self.encoder(pictures))
        self.latents(seen.posterior.float().softmax(-1).flatten(-2).to(pictures.dtype))
        return self.features(seen.features)


def load_backbone(
    model: PretrainedModel, layers: tuple[LayerInfo, ...], frames: int, device: torch.device, dtype: torch.dtype | None, told: str | None
) -> LoadedBackbone:
    """Load the model with its weights, which have the digest ``told`` if one was.

    Raises
    ------
    DataError
        The weights are damaged, not those of the sizes, or others than those that the digest was of.
    """
    found = from_module(
        "apv",
        lambda: LookingModel(model.sizes),
        [layer.module for layer in layers],
        frames=frames,
        size=(model.sizes.size, model.sizes.size),
        takes="clip time channel height width",
        mean=(0.5,) * model.sizes.channels,
        std=(1.0,) * model.sizes.channels,
        grid=(frames, 1, 1),
        weights=lambda: _seeing(require_told(read_weights(model), told, f"the weights of {model.folder}")),
    )
    if [_facts(one) for one in found.layers] != [_facts(one) for one in layers]:
        raise DataError(f"the model in {model.folder} is not the one that its description says", hint="pretrain again")
    return found.load(device, dtype or torch.float32)


def _seeing(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    places = [(name, begin) for name in weights for begin in PLACES if name.startswith(begin)]
    return {PLACES[begin] + name[len(begin) :]: weights[name] for name, begin in places}


def _facts(layer: LayerInfo) -> tuple[object, ...]:
    return layer.module, layer.width, layer.parameters, layer.grid
