"""Settings of extraction: which backbone on which data, what is kept of each layer, where, and on what it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from layerscout.cluster import SCHEDULER, check_scheduler
from layerscout.settings import Config, Flag, Positional


def _listed(value: Any) -> Any:
    """One pooling may be written without a list."""
    return () if value is None else (value,) if isinstance(value, str) else value


class ExtractConfig(Config):
    """One extraction. What changes numbers enters the store's identity; ``root``, ``name``, ``batch``, ``device``, ``threads``,
    ``rows_per_chunk``, ``codec``, ``latents``, ``passport_clips`` and ``scheduler`` do not.
    """

    backbone: Annotated[str, Positional("BACKBONE")] = Field(
        description="NAME, NAME:SOURCE where the source is a checkpoint folder or a hub id, or module:function of your own."
    )
    data: Annotated[Path, Positional("DATA")] = Field(description="The trajectory file of layerscout collect or import.")
    root: Path | None = Field(default=None, description="Folder of all stores; left out: LAYERSCOUT_ROOT, or the user's cache.")
    layers: Annotated[tuple[str, ...], Flag("--layer")] = Field(default=(), description="Only these layers; none: all of them.")
    pooling: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(), description="WHERE/HOW, e.g. last/grid4 or all/mean; with several, a layer has an array each. None: the backbone's own."
    )
    dtype: Literal["float16", "float32", "bfloat16"] = Field(default="float16", description="Type of the stored numbers.")
    compute: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="Type of the numbers inside the model.")
    compile: bool = Field(default=False, description="Run the blocks through torch.compile.")
    backbone_options: dict[str, Any] = Field(default_factory=dict, description="Given to the backbone.")
    latents: bool = Field(default=False, description="Keep a denoiser's VAE latents in a store of their own.")
    denoising_error: bool = Field(default=False, description="Keep how badly the model predicts each clip under noise, as a column.")
    passport_clips: int = Field(default=64, ge=0, description="Clips on which the layers' passports are made; 0: none is kept.")
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="Clips in a forward pass, or auto: as many as memory takes."
    )
    rows_per_chunk: int = Field(default=4096, ge=1, description="Rows of a chunk file, and of a unit of work.")
    codec: Literal["none", "zstd"] = Field(default="none", description="zstd: smaller files that are read more slowly.")
    name: str | None = Field(default=None, description="What people will call the store.")
    device: str = Field(default="cpu", description="cpu, cuda or cuda:0.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; left out: as torch chooses.")
    scheduler: Annotated[str | None, AfterValidator(check_scheduler)] = Field(default=None, description=SCHEDULER)
