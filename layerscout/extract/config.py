"""Settings of extraction: which backbone on which data, what is kept of each layer, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from layerscout.settings import Config


class ExtractConfig(Config):
    """One extraction. What changes numbers enters the store's identity; ``root``, ``name``, ``batch``, ``device``, ``threads``,
    ``rows_per_chunk`` and ``codec`` do not.

    ``backbone`` is ``NAME`` or ``NAME:SOURCE`` (a checkpoint folder or hub id). ``layers`` empty means all.
    ``pooling`` None means the backbone's own default. ``name`` is what people will call the store.
    """

    backbone: str
    data: Path
    root: Path | None = None
    layers: tuple[str, ...] = ()
    pooling: str | None = None
    dtype: Literal["float16", "float32", "bfloat16"] = "float16"
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    batch: int = Field(default=64, ge=1)
    rows_per_chunk: int = Field(default=4096, ge=1)
    codec: Literal["none", "zstd"] = "none"
    name: str | None = None
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1)
