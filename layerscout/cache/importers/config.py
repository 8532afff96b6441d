"""The settings of an import: which dataset, what is taken of it, and where the episodes go. Frozen, closed to unknown keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from layerscout.errors import shell
from layerscout.settings import Config, Positional

SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")


def _spell_size(value: Any) -> Any:
    """Spell a side, or a height and a width, as HEIGHTxWIDTH."""
    if value is None:
        return None
    text = "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    match = SIZE.fullmatch(text)
    if not match or not all(int(side) for side in match.groups() if side):
        raise ValueError(f"a size is a number of pixels or HEIGHTxWIDTH, like 64 or 96x128, not '{text}'")
    return f"{int(match[1])}x{int(match[2] or match[1])}"


class ImportConfig(Config):
    """Which foreign dataset is read, what is taken of it, and which file receives the episodes.

    ``importing.plan(config)`` looks into the dataset and writes nothing; ``importing.run(plan)`` imports what is missing,
    where ``importing`` is ``layerscout.cache.importers.run``. Settings that a format has no use for are refused.
    """

    source: Annotated[Path, Positional("SOURCE")] = Field(description="The file or folder of the dataset.")
    out: Path = Field(default=Path("outputs/data.h5"), description="The HDF5 file that receives the episodes.")
    format: str | None = Field(default=None, description="Name of the dataset's format, or module:class of your own; left out: found out.")
    camera: str | None = Field(default=None, description="Which images, when there are several.")
    size: Annotated[str | None, BeforeValidator(_spell_size)] = Field(
        default=None, description="Side of the square frame, or HEIGHTxWIDTH, in pixels; left out: as it is."
    )
    episodes: int | None = Field(default=None, ge=1, description="Take so many from the beginning.")
    action: tuple[str, ...] = Field(default=(), description="A field that holds actions; several are joined in the order given.")
    reward: str | None = Field(default=None, description="The field that holds rewards, NAME, or one column of it, NAME:COLUMN.")
    end: str | None = Field(default=None, description="The field that tells where the task ended, by what is not 0 or false.")
    leave_out: tuple[str, ...] = Field(default=(), description="A field that is not wanted; also actions, rewards, ends, state.")
    filter_key: str | None = Field(default=None, description="Of robomimic: take the demonstrations that mask/NAME lists.")
    stack: Literal["last"] | None = Field(default=None, description="Of stacked frames: take the last of every stack.")
    episode_length: int | None = Field(
        default=None, ge=1, description="Of flat files: an episode ends after so many steps at the latest, flag or not."
    )
    fps: float | None = Field(default=None, gt=0, lt=1e4, description="Of videos: take the frames shown at so many ticks a second.")
    stride: int = Field(default=1, ge=1, description="Of videos and folders of pictures: take every so many-th frame.")

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Height and width that frames are brought to, in pixels; None keeps theirs."""
        if self.size is None:
            return None
        height, width = self.size.split("x")
        return int(height), int(width)

    def chosen(self) -> dict[str, Any]:
        """Return the settings that decide what is read and are not the default, as plain data."""
        fixed = {"source", "out", "format", "episodes"}
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in fixed}
        different = {name: value for name, value in given.items() if value != type(self).model_fields[name].default}
        return {
            name: sorted(value) if name == "leave_out" else list(value) if isinstance(value, tuple) else value
            for name, value in different.items()
        }

    def again(self, *words: str) -> str:
        """Return the command that makes the same import with ``words`` added, as a shell takes it: the way out that hints name."""
        said: list[object] = ["import", self.source]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "source" or value == field.default:
                continue
            for one in value if isinstance(value, tuple) else (value,):
                said += [f"--{name.replace('_', '-')}", f"{one:g}" if isinstance(one, float) else one]
        return shell(*said, *words)
