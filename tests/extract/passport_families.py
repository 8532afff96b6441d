"""Names of families in, backbones on tiny random checkpoints out: every way in which a block takes its tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoints_denoisers as denoisers
import checkpoints_encoders as encoders
import checkpoints_more as more
import golden
import torch

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.passports.context import NoPassport
from layerscout.extract.passports.harvest import harvest_layers
from layerscout.extract.passports.passport import Passport
from layerscout.extract.passports.ports import PORTS

CPU = torch.device("cpu")
BOTH_VAE = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
S32, S64 = {"size": [32, 32]}, {"size": [64, 64]}


@dataclass(frozen=True)
class Family:
    """How a checkpoint is saved (None: the weights are in the package), what reads it, and where its blocks lie."""

    save: Callable[[Path], Any] | None
    backbone: str
    options: dict[str, Any] = field(default_factory=dict)
    part: str = "transformer"
    rounding: float = 2e-5  # how far sums of other lengths may lie apart


FAMILIES = {
    "tiny": Family(None, "tiny"),
    "cogvideox-2b": Family(lambda f: denoisers.save_cogvideox(f, use_rotary_positional_embeddings=False), "cogvideox", S32 | {"frames": 5}),
    "cogvideox-5b": Family(denoisers.save_cogvideox, "cogvideox", S32 | {"frames": 5}),
    "cogvideox-1.5": Family(lambda f: denoisers.save_cogvideox(f, patch_size_t=2, patch_bias=False), "cogvideox", S32 | {"frames": 13}),
    "wan-2.1": Family(denoisers.save_wan, "wan", S32 | {"frames": 5}),
    "wan-2.1-image": Family(lambda f: denoisers.save_wan(f, in_channels=12), "wan", S32),
    "wan-2.2-low-noise": Family(
        lambda f: denoisers.save_wan(f, said={"boundary_ratio": 0.875}), "wan", S32 | {"frames": 5}, part="transformer_2"
    ),
    "wan-2.2-both": Family(
        lambda f: denoisers.save_wan(f, vae=BOTH_VAE, said={"expand_timesteps": True}), "wan", S64 | {"frames": 5, "future": 2}
    ),
    "ltx": Family(denoisers.save_ltx, "ltx", S64),
    "hunyuan": Family(more.save_hunyuan, "hunyuan", S32 | {"frames": 5}),
    "hunyuan-1.5": Family(more.save_hunyuan15, "hunyuan15", S32 | {"frames": 5}),
    "mochi": Family(more.save_mochi, "mochi", S32 | {"frames": 7}),
    "svd": Family(more.save_svd, "svd", S64, part="unet", rounding=2e-3),  # single pixels, whose norms magnify rounding
    "cosmos": Family(more.save_cosmos, "cosmos", S32),
    "vjepa2": Family(lambda f: encoders.save(f, "vjepa2", max_shard_size="60KB"), "vjepa2", part=""),
    "vjepa2-larger": Family(lambda f: encoders.save(f, "vjepa2"), "vjepa2", {"size": 48, "frames": 6}, part=""),
    "videomae": Family(lambda f: encoders.save(f, "videomae"), "videomae", part=""),
    "videomae-with-head": Family(lambda f: encoders.save(f, "videomae", "ForVideoClassification"), "videomae", part=""),
    "timesformer": Family(lambda f: encoders.save(f, "timesformer"), "timesformer", part=""),
    "vivit": Family(lambda f: encoders.save(f, "vivit"), "vivit", part=""),
}


@dataclass(frozen=True)
class Saved:
    """One family on disk and in memory."""

    family: Family
    folder: Path
    backbone: Backbone
    loaded: LoadedBackbone
    _found: dict[int, dict[str, Passport]] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        return f"{self.family.backbone}:{self.folder}" if self.family.save else self.family.backbone

    def passports(self, count: int = 1) -> dict[str, Passport]:
        """Every layer's passport, with its block, of some clips in one batch."""
        if count not in self._found:
            found = harvest_layers(self.backbone, self.loaded, self.backbone.layers, [golden.clips(self.backbone, count).numpy()])
            self._found[count] = {name: _with_block(passport, self.loaded) for name, passport in found.items()}
        return self._found[count]

    def inside(self, count: int = 1) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Tokens before and after every block while the whole model runs, in the order of the grid."""
        seen: dict[str, Any] = {}
        handles = []
        passports = self.passports(1)
        for layer in self.backbone.layers:
            block, passport = self.loaded.module.get_submodule(layer.module), passports[layer.name]

            def before(module, positional, named, passport=passport) -> None:
                raw = positional[0] if positional else named[passport.argument]
                seen[passport.layer.name] = PORTS[passport.port].leave(raw, passport.input_shape[0]).clone()

            def after(module, positional, output, layer=layer) -> None:
                seen[layer.name] = seen[layer.name], self.loaded.tokens(output, layer).clone()

            handles += [block.register_forward_pre_hook(before, with_kwargs=True), block.register_forward_hook(after)]
        with torch.no_grad():
            self.loaded.forward(golden.clips(self.backbone, count))
        for handle in handles:
            handle.remove()
        return seen


def save(name: str, root: Path, dtype: torch.dtype = torch.float32) -> Saved:
    """Save a family's checkpoint under a folder and load it."""
    family, folder = FAMILIES[name], root / name
    if family.save and not folder.exists():
        family.save(folder)
    backbone = find_backbone(f"{family.backbone}:{folder}" if family.save else family.backbone, family.options)
    return Saved(family, folder, backbone, backbone.load(CPU, dtype))


def _with_block(passport: Passport | NoPassport, loaded: LoadedBackbone) -> Passport:
    if isinstance(passport, NoPassport):
        raise passport
    return passport.with_block(loaded.module.get_submodule(passport.layer.module))
