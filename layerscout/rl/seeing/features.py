"""Frames of many games in, what each arm's head sees out: the frozen representations at work."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Int64, UInt8

from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.clips import ClipWindow
from layerscout.extract.device import batches_in_threads, cores
from layerscout.extract.encoder import Encoder
from layerscout.rl.arms import ArmSpec
from layerscout.rl.seeing.representation import Representation

BATCH = 32  # clips a forward pass

Frames = UInt8[np.ndarray, "copy height width channel"]


class FeatureObserver:
    """Runs the frozen layers on the present clips of many games, each game for its own arm.

    One model in memory for each store that an arm needs, whatever the number of arms and runs. A clip runs no deeper than the layers
    that look at it, and once for all games in which it is seen now: arms that are compared play the same episodes, and as long as they
    have done the same they see the same. What comes out for a clip equals the stored row of that clip (to float rounding, because
    batches differ), so a policy learned from the store sees the same when it acts.

    Parameters
    ----------
    arms, representations
        What there is to see, and how each arm's head sees it.
    arm_of_copy
        Which arm each game plays for.
    encoders
        One a store, see `encoders_of`.
    workers
        Batches of clips that are encoded at the same time (default: as many as torch may use threads).
    """

    def __init__(
        self,
        arms: Sequence[ArmSpec],
        representations: Sequence[Representation],
        arm_of_copy: Int[np.ndarray, " copy"],
        encoders: dict[str, Encoder],
        workers: int | None = None,
    ) -> None:
        self._arms, self._representations, self._encoders = arms, representations, encoders
        self._arm_of_copy = np.asarray(arm_of_copy)
        self.width = max(arm.width for arm in arms)
        self.shape: tuple[int, ...] = (self.width,)
        self._workers = cores(workers)
        self._windows = {store: ClipWindow(len(self._arm_of_copy), encoder.clip) for store, encoder in encoders.items()}

    def start(self, which: Int[np.ndarray, " started"], frames: Frames) -> None:
        """Begin episodes in the copies ``which``; ``frames`` are theirs alone."""
        for window in self._windows.values():
            window.start(which, frames)

    def push(self, which: Int[np.ndarray, " moved"], frames: Frames) -> None:
        """Add the newest frames of the copies ``which``."""
        for window in self._windows.values():
            window.push(which, frames)

    def observe(self, live: Bool[np.ndarray, " copy"]) -> Float32[np.ndarray, "copy feature"]:
        """Return the features of every live copy, zero elsewhere and in the padding of narrower arms."""
        seen = np.zeros((len(live), self.width), dtype=np.float32)
        for store, window in self._windows.items():
            mine = [number for number, arm in enumerate(self._arms) if arm.store.id == store]
            copies = np.flatnonzero(live & np.isin(self._arm_of_copy, mine))
            encode = partial(self._encode, store, window, seen)
            for _, level in itertools.groupby(self._batches(store, copies), key=lambda batch: batch.depth):
                list(batches_in_threads(encode, level, self._workers))  # passes that overlap end after the same layer
        return seen

    def _batches(self, store: str, copies: Int[np.ndarray, " seen"]) -> list[_Batch]:
        """Part what is seen into batches of different clips, those that run deepest last."""
        first, place = distinct(self._windows[store], copies)
        depths = np.array([self._encoders[store].depth(arm.layer) if arm.store.id == store else 0 for arm in self._arms])
        needed = np.zeros(len(first), dtype=np.int64)
        np.maximum.at(needed, place, depths[self._arm_of_copy[copies]])
        found = []
        for depth in np.unique(needed).tolist():
            members = np.flatnonzero(needed == depth)
            for low in range(0, len(members), BATCH):
                batch = members[low : low + BATCH]
                slot = np.full(len(first), -1)
                slot[batch] = np.arange(len(batch))
                who = np.flatnonzero(slot[place] >= 0)
                found.append(_Batch(depth, copies[first[batch]], copies[who], slot[place[who]]))
        return found

    def _encode(self, store: str, window: ClipWindow, seen: Float32[np.ndarray, "copy feature"], batch: _Batch) -> None:
        arms = np.unique(self._arm_of_copy[batch.copies]).tolist()
        clips = torch.from_numpy(window.clips(batch.shown))
        features = self._encoders[store].several(clips, list(dict.fromkeys(self._arms[arm].layer for arm in arms)))
        for number in arms:
            own = self._arm_of_copy[batch.copies] == number
            rows = features[self._arms[number].layer].cpu().numpy()[batch.slot[own]]
            seen[batch.copies[own], : self._arms[number].width] = self._representations[number](rows)


class _Batch(NamedTuple):
    """Different clips for one pass, and who sees them."""

    depth: int
    shown: Int[np.ndarray, " clip"]  # a copy that sees each
    copies: Int[np.ndarray, " seen"]  # all copies that see one of them
    slot: Int[np.ndarray, " seen"]  # which one


def distinct(window: ClipWindow, copies: Int[np.ndarray, " seen"]) -> tuple[Int64[np.ndarray, " clip"], Int64[np.ndarray, " seen"]]:
    """Return where among the copies each different clip is seen first, and which of these clips each copy sees."""
    known: dict[bytes, int] = {}
    place = np.empty(len(copies), dtype=np.int64)
    for low in range(0, len(copies), BATCH):  # clips can be large
        for number, clip in enumerate(window.clips(copies[low : low + BATCH]), low):
            place[number] = known.setdefault(hashlib.blake2b(clip, digest_size=16).digest(), len(known))
    return np.unique(place, return_index=True)[1], place


class ClipObserver:
    """The clips themselves, for networks that hold the frozen block between their own adapters."""

    def __init__(self, copies: int, spec: ClipSpec) -> None:
        self._window = ClipWindow(copies, spec)
        self._everyone = np.arange(copies)
        self.shape: tuple[int, ...] = (len(spec.offsets), *spec.frame_shape)

    def start(self, which: Int[np.ndarray, " started"], frames: Frames) -> None:
        """Begin episodes in the copies ``which``; ``frames`` are theirs alone."""
        self._window.start(which, frames)

    def push(self, which: Int[np.ndarray, " moved"], frames: Frames) -> None:
        """Add the newest frames of the copies ``which``."""
        self._window.push(which, frames)

    def observe(self, live: Bool[np.ndarray, " copy"]) -> UInt8[np.ndarray, "copy time height width channel"]:
        """Return every copy's present clip."""
        return self._window.clips(self._everyone)


Observer = FeatureObserver | ClipObserver


def encoders_of(arms: Sequence[ArmSpec], device: str, trust: bool = False) -> dict[str, Encoder]:
    """Load one encoder a store, for just the layers that the arms need; ``trust`` as of `Encoder`."""
    stores = {arm.store.id: arm.store for arm in arms}
    layers = {name: sorted({arm.layer for arm in arms if arm.store.id == name}) for name in stores}
    return {name: Encoder(store, layers[name], device, trust) for name, store in stores.items()}
