"""Settings of extraction: which backbone on which data, what is kept of each layer, where, and on what it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from layerscout.settings import Config


def _listed(value: Any) -> Any:
    """One pooling may be written without a list."""
    return () if value is None else (value,) if isinstance(value, str) else value


class ExtractConfig(Config):
    """One extraction. What changes numbers enters the store's identity; ``root``, ``name``, ``batch``, ``device``, ``threads``,
    ``rows_per_chunk``, ``codec``, ``latents``, ``passport_clips`` and ``scheduler`` do not.

    ``backbone`` is ``NAME`` or ``NAME:SOURCE`` (a checkpoint folder or hub id). ``layers`` empty means all.
    ``pooling`` is one name or several, empty means the backbone's own default; with several, a layer has an array each.
    ``compute`` is the type of the numbers inside the model, ``dtype`` that of the stored ones; ``compile`` runs the blocks
    through torch.compile. ``latents`` keeps a denoiser's VAE latents in a store of their own. ``scheduler`` spreads units
    over processes or machines. ``name`` is what people will call the store.
    ``passport_clips`` is on how many clips the layers' passports are made (0: none is kept).
    """

    backbone: str
    data: Path
    root: Path | None = None
    layers: tuple[str, ...] = ()
    pooling: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    dtype: Literal["float16", "float32", "bfloat16"] = "float16"
    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    latents: bool = False
    passport_clips: int = Field(default=64, ge=0)
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    rows_per_chunk: int = Field(default=4096, ge=1)
    codec: Literal["none", "zstd"] = "none"
    name: str | None = None
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1)
    scheduler: Annotated[str, Field(pattern=r"^(local:[1-9]\d*|[a-z]+://.+)$")] | None = None
