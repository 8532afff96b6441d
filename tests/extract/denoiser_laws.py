"""Laws that every denoiser obeys, whatever its family: a description and clips in, assertions out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import golden
import torch

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.networks.latent_backbone import LatentBackbone

CPU = torch.device("cpu")


def by_the_library(kind: Any, folder: Any, part: str) -> Any:
    """A part of a checkpoint as diffusers loads it; then every weight in memory of its own, because it maps the file, where
    tensors lie at any address, and processors round sums of unaligned numbers otherwise in the last bit."""
    model = kind.from_pretrained(folder, subfolder=part, low_cpu_mem_usage=False).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def hooked(blocks: Any, call: Callable[[], Any]) -> list[torch.Tensor]:
    """What each block puts out while ``call`` runs; the first of a tuple."""
    seen: list[torch.Tensor] = []
    handles = [block.register_forward_hook(lambda m, a, o: seen.append((o[0] if isinstance(o, tuple) else o).clone())) for block in blocks]
    with torch.no_grad():
        call()
    for handle in handles:
        handle.remove()
    return seen


def equal_to_blocks(backbone: Backbone, clips: torch.Tensor, expected: list[torch.Tensor]) -> None:
    """Tokens of every layer are bit for bit what the library's model gives."""
    ours = golden.activations(backbone, clips)
    assert list(ours) == [layer.name for layer in backbone.layers]
    for layer, output in zip(backbone.layers, expected, strict=True):
        assert torch.equal(ours[layer.name], output), layer.name


def described_as_loaded(backbone: Backbone) -> None:
    """Names, widths, parameters and the token grid, told without weights, are those of the model."""
    loaded = backbone.load(CPU)
    assert isinstance(loaded, LatentBackbone)
    seen = golden.activations(backbone, golden.clips(backbone, 2))
    for layer in backbone.layers:
        assert sum(p.numel() for p in loaded.module.get_submodule(layer.module).parameters()) == layer.parameters
        assert seen[layer.name].shape == (2, backbone.grid_of(layer).tokens, layer.width)
        assert torch.isfinite(seen[layer.name]).all()
        assert seen[layer.name].std() > 0
    if backbone.seen is not None:
        assert len(backbone.seen) == backbone.grid.past
        assert backbone.seen[-1] == 0
        assert list(backbone.seen) == sorted(set(backbone.seen))


def rows_are_independent(backbone: Backbone, atol: float = 1e-5) -> None:
    """A row's activations are the same alone as among others, but for the order of sums."""
    clips = golden.clips(backbone, 3)
    together = golden.activations(backbone, clips)
    alone = golden.activations(backbone, clips[1:2])
    for name, values in alone.items():
        torch.testing.assert_close(values, together[name][1:2], atol=atol, rtol=1e-4)
        assert not torch.allclose(together[name][0], together[name][1]), "clips differ"


def stored_latents_give_the_same(backbone: Backbone) -> None:
    """``denoise(encode(clip))`` is the forward pass bit for bit, and latents have the shape that was told."""
    loaded, clips = backbone.load(CPU), golden.clips(backbone, 2)
    assert isinstance(loaded, LatentBackbone)
    blocks = [loaded.module.get_submodule(layer.module) for layer in backbone.layers]
    with torch.no_grad():
        latents = loaded.encode(clips)
    assert tuple(latents.shape[1:]) == backbone.latent_shape
    assert latents.dtype == torch.float32
    whole = hooked(blocks, lambda: loaded.forward(clips))
    stored = hooked(blocks, lambda: loaded.denoise(latents.clone()))
    assert len(whole) == len(backbone.layers)
    assert all(torch.equal(a, b) for a, b in zip(whole, stored, strict=True))


def ends_after_any_block(backbone: Backbone) -> None:
    """Truncated after a block, the model runs no later one and that block's tokens are the same; a deeper call undoes it."""
    loaded, clips = backbone.load(CPU), golden.clips(backbone)
    blocks = [loaded.module.get_submodule(layer.module) for layer in backbone.layers]
    whole = hooked(blocks, lambda: loaded.forward(clips))
    for layer in (backbone.layers[0], backbone.layers[-1], backbone.layers[len(backbone.layers) // 2]):
        loaded.truncate(layer)
        part = hooked(blocks, lambda: loaded.forward(clips))
        assert len(part) == layer.depth + 1
        assert torch.equal(part[-1], whole[layer.depth])


def runs_in_bfloat16(backbone: Backbone, kept: tuple[str, ...] = ()) -> None:
    """Weights are bfloat16 except modules that the family keeps in float32, and the numbers are near those of float32."""
    parameters = dict(backbone.load(CPU, torch.bfloat16).module.named_parameters())
    for name, parameter in parameters.items():
        expected = torch.float32 if set(kept) & set(name.split(".")) else torch.bfloat16
        assert parameter.dtype == expected, name
    assert {parameter.dtype for parameter in parameters.values()} >= {torch.bfloat16}
    clips = golden.clips(backbone)
    exact, rounded = golden.activations(backbone, clips), golden.activations(backbone, clips, torch.bfloat16)
    for name, values in exact.items():
        assert (rounded[name] - values).norm() < 0.1 * values.norm(), name


def past_slots_see_no_later_frame(backbone: Backbone) -> None:
    """Latents of a slot stay as they are when frames after ``seen`` change (families with a causal VAE, time on axis 1)."""
    loaded, clips = backbone.load(CPU), golden.clips(backbone)
    assert isinstance(loaded, LatentBackbone)
    assert backbone.seen is not None
    with torch.no_grad():
        before = loaded.encode(clips)
        for slot, newest in enumerate(backbone.seen[:-1]):
            changed = clips.clone()
            changed[:, backbone.clip.offsets.index(newest) + 1 :] = 255 - changed[:, backbone.clip.offsets.index(newest) + 1 :]
            after = loaded.encode(changed)
            assert torch.equal(after[:, :, : slot + 1], before[:, :, : slot + 1])
            assert not torch.allclose(after[:, :, slot + 1 :], before[:, :, slot + 1 :])
