"""A store in, what its manifest freely says of how it was made out, checked: nobody has to believe a stranger's provenance.

The identity of a store pins its numbers down; its provenance is only told. It names where the backbone and the dataset came from
and what was played, and a store that was written by another program may say nothing, or nonsense.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from layerscout.cache.store import Store
from layerscout.errors import DataError
from layerscout.misfits import describe_misfit

MOST_ACTIONS, LARGEST_SIDE = 10**6, 2**14
EXTRACT = "extract the store again with layerscout extract"

Word = Annotated[str, Field(min_length=1, max_length=4096)]
Side = Annotated[int, Field(strict=True, ge=1, le=LARGEST_SIDE)]
Count = Annotated[int, Field(strict=True, ge=0, le=MOST_ACTIONS)]


class Told(BaseModel):
    """Base of what a store freely says. Fields that this version does not know are let through, because later ones may tell more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DatasetAttributes(Told):
    """What a dataset says of how it was recorded. An imported one names no environment.

    Attributes
    ----------
    environment, options, size
        What was played, with which settings, in pictures of how many pixels a side.
    frame_shape
        Height, width, channels of a frame.
    action_count, action_dimensions
        How many discrete actions there were, or how many numbers a continuous one has.
    policy, seed, steps
        How it was played, and for how long.
    """

    environment: Word | None = None
    options: dict[Word, Any] = {}
    size: Side | None = None
    frame_shape: tuple[Side, Side, Side] | None = None
    action_count: Count | None = None
    action_dimensions: Count | None = None
    policy: Word | None = None
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] | None = None
    steps: Annotated[int, Field(strict=True, ge=1)] | None = None


class Provenance(Told):
    """What a store says of how it was made; every field may be missing."""

    backbone: Word | None = None
    backbone_commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    backbone_options: dict[Word, Any] = {}
    data: Word | None = None
    command: Word | None = None
    dataset_attributes: DatasetAttributes = DatasetAttributes()

    def stated(self, field: str, store_id: str) -> Any:
        """Return a field that must be stated.

        Raises
        ------
        DataError
            The store does not tell it.
        """
        value = getattr(self, field)
        if value is None:
            raise DataError(f"store {store_id} does not say its {field}", hint=EXTRACT)
        return value


def provenance_of(store: Store) -> Provenance:
    """Return what a store says of how it was made.

    Raises
    ------
    DataError
        Something in it is not of the kind that it must be; the message names it.
    """
    try:
        return Provenance.model_validate(store.manifest.provenance)
    except ValidationError as error:
        raise DataError(f"the provenance of store {store.id} makes no sense: {describe_misfit(error.errors()[0])}", hint=EXTRACT) from None


def played_attributes(store: Store) -> dict[str, Any]:
    """Return what a store says of the environment that its dataset was recorded in; what it does not say is left out.

    Raises
    ------
    DataError
        It tells nonsense.
    """
    return provenance_of(store).dataset_attributes.model_dump(exclude_none=True, exclude={"policy", "seed", "steps"})


def backbone_source(store: Store) -> tuple[str, dict[str, Any]]:
    """Return which backbone filled a store, as ``layerscout extract`` takes it, and its options.

    Raises
    ------
    DataError
        The store does not tell, or tells nonsense.
    """
    found = provenance_of(store)
    backbone = str(found.stated("backbone", store.id))
    at = f"@{found.backbone_commit}" if found.backbone_commit and "@" not in backbone else ""  # its branch may have moved on since
    return backbone + at, dict(found.backbone_options)


def dataset_path(store: Store) -> Path:
    """Return where the dataset lay that a store was made from.

    Raises
    ------
    DataError
        The store does not tell, or tells nonsense.
    """
    return Path(str(provenance_of(store).stated("data", store.id)))
