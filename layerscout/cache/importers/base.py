"""What every importer is given and gives: settings in, a list of foreign episodes and one of ours at a time out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.pictures.scaling import PictureScale
from layerscout.errors import DataError, UsageError, suggest

Array = Shaped[np.ndarray, "row ..."]  # as a foreign file has it: any type and shape
ROLES = ("actions", "rewards", "ends", "state")  # what a trajectory file has a place for, beside frames and other numbers
REWARDLIKE = frozenset({"reward", "rewards", "rew", "r"})
ENDLIKE = frozenset(
    {"done", "dones", "end", "ends", "terminal", "terminals", "terminate", "terminated", "termination", "terminations", "success"}
)
PARTICULAR = ("end", "fps", "stride", "stack", "filter_key", "episode_length")  # settings that only some formats have a use for


@dataclass(frozen=True)
class ForeignEpisode:
    """One foreign episode, before it is read.

    Attributes
    ----------
    name
        What it is called within the source.
    steps
        The steps T that it will have.
    ending
        Whether the frame after its last action was recorded (``whole``); if not, whether that action is dropped with its
        reward (``dropped``), or kept because the task ended with it, with the last frame twice (``repeated``).
    lost_reward
        Whether a reward other than 0 goes with a dropped action.
    """

    name: str
    steps: int
    ending: Literal["whole", "dropped", "repeated"] = "whole"
    lost_reward: bool = False


class SkippedEpisode(DataError):
    """One episode cannot be read, and the others can do without it."""


class Importer(ABC):
    """A foreign dataset, looked through and ready to be read episode by episode; no file stays open in between.

    Attributes
    ----------
    path, config
        Where the dataset is, and what is to be taken of it.
    episodes
        What it has, in order, without episodes that have no step; ``too_short`` counts those.
    facts
        What the dataset says of itself; they become attributes of the trajectory file.
    fields
        Names of the numbers beside the roles, which ``leave_out`` may have too.
    roles
        Actions, rewards, ends and state → the source's own names of what is taken as such; absent where it has none.
    candidates
        Actions, rewards, ends → fields that look like them and were not taken as such: for the way out.
    not_taken
        Fields that cannot come over → why.
    notes
        What the user must know: sentences.
    scale
        How numbers of pictures become brightness.
    exact
        Fields beyond what float32 holds exactly → the type that keeps their values.
    """

    takes: frozenset[str] = frozenset()  # which of the particular settings mean something here

    def __init__(self, config: ImportConfig) -> None:
        self.config, self.path = config, config.source
        self.facts: dict[str, Any] = {}
        self.episodes: Sequence[ForeignEpisode] = ()
        self.too_short = 0
        self.fields: Sequence[str] = ()
        self.roles: dict[str, tuple[str, ...]] = {}
        self.candidates: dict[str, Sequence[str]] = {}
        self.not_taken: dict[str, str] = {}
        self.notes: list[str] = []
        self.exact: dict[str, str] = {}
        self.scale = PictureScale()
        for name in PARTICULAR:
            if name not in self.takes and getattr(config, name) != type(config).model_fields[name].default:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} means nothing for {type(self).__name__.lower()}: {self.path}", hint=f"leave {flag} out")

    @staticmethod
    @abstractmethod
    def recognises(path: Path) -> bool:
        """Tell whether a file or folder looks like this format; reads little."""

    @abstractmethod
    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one episode.

        Raises
        ------
        SkippedEpisode
            It is unreadable, and the format is one whose episodes lie in files of their own.
        DataError
            It does not keep to the format.
        """

    def files(self) -> Sequence[str]:
        """Return the names of all files that are read, relative to ``root``: what the source's identity is made of."""
        if self.path.is_file():
            return [self.path.name]
        return sorted(found.relative_to(self.path).as_posix() for found in self.path.rglob("*") if found.is_file())

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """Return the names of the files that one episode is read from."""
        return self.files()

    @property
    def root(self) -> Path:
        """The folder that the names of files are relative to."""
        return self.path.parent if self.path.is_file() else self.path

    def largest(self, name: str) -> float | None:
        """Return the largest magnitude of a field in the whole dataset, or None when the first episode has to speak for all."""
        return None

    def user_notes(self) -> list[str]:
        """Return what the user must know, after an episode was read."""
        return [*self.notes, *([self.scale.note] if self.scale.note else [])]

    def wants(self, name: str) -> bool:
        """Tell whether a field or role was not left out."""
        left = set(self.config.leave_out)
        return name not in left and not any(name in own and role in left for role, own in self.roles.items())

    def check_names(self) -> None:
        """Refuse a name in ``leave_out`` that is no field and no role, and actions both asked for and left out."""
        known = list(dict.fromkeys([*ROLES, *(name for own in self.roles.values() for name in own), *self.fields]))
        for name in self.config.leave_out:
            if name not in known:
                message = f"{self.path} has no field '{name}' to leave out{suggest(name, known)}"
                raise UsageError(message, hint=f"fields: {', '.join(known)}")
        both = [name for name in self.config.action if name in self.config.leave_out or "actions" in self.config.leave_out]
        if both:
            raise UsageError(f"--action {both[0]} is left out by --leave-out", hint="one of the two")

    def resolve_actions(self, usual: Sequence[str], found: Iterable[str]) -> tuple[str, ...]:
        """Return which fields are taken as actions: those asked for, else the usual one, else the only one that looks like it.

        Parameters
        ----------
        usual
            The names that the format has for actions.
        found
            Every field that could be asked for.

        Raises
        ------
        UsageError
            One that was asked for is not there.
        """
        there = list(found)
        for name in self.config.action:
            if name not in there:
                raise UsageError(f"{self.path} has no field '{name}'{suggest(name, there)}", hint=f"--action takes: {', '.join(there)}")
        if self.config.action:
            return self.config.action
        named = [name for name in usual if name in there]
        if named:
            return (named[0],)
        alike = [name for name in there if name.replace("/", ".").split(".")[0] in ("action", "actions")]
        self.candidates["actions"] = alike if len(alike) > 1 else ()
        return tuple(alike) if len(alike) == 1 else ()

    def resolve_ends(self, usual: Sequence[str], found: Iterable[str]) -> tuple[str, ...]:
        """Return the fields that tell where the task ended: the one asked for, else those of the usual names that are there.

        Raises
        ------
        UsageError
            The one that was asked for is not there.
        """
        there = list(found)
        if self.config.end is None:
            own = tuple(name for name in usual if name in there)
            self.candidates["ends"] = [] if own else _alike(there, ENDLIKE)
            return own
        if self.config.end not in there:
            message = f"{self.path} has no field '{self.config.end}'{suggest(self.config.end, there)}"
            raise UsageError(message, hint=f"--end takes: {', '.join(there)}")
        return (self.config.end,)

    def resolve_reward(self, usual: str, found: Iterable[str]) -> tuple[str, ...]:
        """Return the field that rewards are read from, as a tuple of one name, or none; ``--reward`` may name a column of it.

        Raises
        ------
        UsageError
            The one that was asked for is not there.
        """
        there = list(found)
        asked = self.config.reward
        if asked is None:
            self.candidates["rewards"] = [] if usual in there else _alike(there, REWARDLIKE)
            return (usual,) if usual in there else ()
        name = reward_column(asked)[0] if asked not in there else asked
        if name not in there:
            raise UsageError(f"{self.path} has no field '{name}'{suggest(name, there)}", hint=f"--reward takes: {', '.join(there)}")
        return (name,)


def _alike(names: Iterable[str], words: frozenset[str]) -> list[str]:
    """Return the names whose last part, in small letters and without "is", is one of the words."""
    return [name for name in names if re.split(r"[./]", name)[-1].lower().removeprefix("is_") in words]


def reward_column(asked: str) -> tuple[str, int | None]:
    """Part NAME:COLUMN into both; no column where none is named."""
    name, colon, column = asked.rpartition(":")
    return (name, int(column)) if colon and column.isdecimal() and len(column) < 10 else (asked, None)
