"""Frames of many games in, what each arm's head sees out: the frozen representations at work."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Shaped, UInt8

from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.clips import ClipWindow
from layerscout.extract.device import batches_in_threads, cores
from layerscout.extract.encoder import Encoder
from layerscout.rl.arms import ArmSpec
from layerscout.rl.seeing.representation import Representation

BATCH = 32  # clips a forward pass
REMEMBERED = 4  # clips of each game whose features are kept: a game that stands still, or goes to and fro, shows them again

Frames = UInt8[np.ndarray, "copy height width channel"]


class FeatureObserver:
    """Runs the frozen layers on the present clips of many games, each game for its own arm.

    One model in memory for each store that an arm needs, whatever the number of arms and runs. A clip runs no deeper than the layers
    that look at it, and once for all games that show it now or did so a few steps ago: arms that are compared play the same episodes and
    see the same as long as they have done the same, and an agent that stands still sees the same again. What comes out for a clip equals the stored row of that clip (to float rounding, because
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
        self._known: dict[tuple[str, bytes, str], Float32[np.ndarray, " feature"]] = {}  # store, name of the clip, layer
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
            names = dict(zip(copies.tolist(), _names(window, copies), strict=True))
            self._look(store, names)
            for number in mine:
                if len(own := copies[self._arm_of_copy[copies] == number]):
                    arm = self._arms[number]
                    rows = np.stack([self._known[store, names[copy], arm.layer] for copy in own.tolist()])
                    seen[own, : arm.width] = self._representations[number](rows)
        for oldest in list(itertools.islice(self._known, max(0, len(self._known) - REMEMBERED * len(live)))):
            del self._known[oldest]
        return seen

    def _look(self, store: str, names: dict[int, bytes]) -> None:
        """Encode the clips that are not known yet, each once, in passes that end after the deepest layer that wants it."""
        encoder, window = self._encoders[store], self._windows[store]
        wanted: dict[bytes, tuple[int, set[str]]] = {}  # a copy that shows the clip, the layers that want it
        for copy, name in names.items():
            layer = self._arms[self._arm_of_copy[copy]].layer
            if (store, name, layer) not in self._known:
                wanted.setdefault(name, (copy, set()))[1].add(layer)
        by_depth: dict[int, list[bytes]] = {}
        for name, (_, layers) in wanted.items():
            by_depth.setdefault(max(map(encoder.depth, layers)), []).append(name)

        def encode(batch: list[bytes]) -> None:
            layers = sorted(set.union(*(wanted[name][1] for name in batch)))
            clips = torch.from_numpy(window.clips(np.array([wanted[name][0] for name in batch])))
            for layer, rows in encoder.several(clips, layers).items():
                self._known.update({(store, name, layer): row for name, row in zip(batch, rows.cpu().numpy(), strict=True)})

        for _, found in sorted(by_depth.items()):  # passes that overlap end after the same layer
            batches = [found[low : low + BATCH] for low in range(0, len(found), BATCH)]
            list(batches_in_threads(encode, batches, self._workers))


def _names(window: ClipWindow, copies: Int[np.ndarray, " seen"]) -> Iterator[bytes]:
    """Give every copy's present clip a name: the digest of its pixels."""
    for low in range(0, len(copies), BATCH):  # clips can be large
        for clip in window.clips(copies[low : low + BATCH]):
            yield hashlib.blake2b(clip, digest_size=16).digest()


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
        """Every copy's clip of its latest frames, uint8; those of copies that are not live too."""
        return self._window.clips(self._everyone)


class Observer(Protocol):
    """What looks at the games of agents: told of beginnings and of new frames, it gives what the agents see."""

    shape: tuple[int, ...]

    def start(self, which: Int[np.ndarray, " started"], frames: Frames) -> None:
        """Begin episodes in the copies ``which``; ``frames`` are theirs alone."""

    def push(self, which: Int[np.ndarray, " moved"], frames: Frames) -> None:
        """Add the newest frames of the copies ``which``."""

    def observe(self, live: Bool[np.ndarray, " copy"]) -> Shaped[np.ndarray, "copy *feature"]:
        """Return what every copy's agent sees now."""


def encoders_of(arms: Sequence[ArmSpec], device: str, trust: bool = False) -> dict[str, Encoder]:
    """Load one encoder a store, for just the layers that the arms need; ``trust`` as of `Encoder`."""
    stores = {arm.store.id: arm.store for arm in arms}
    layers = {name: sorted({arm.layer for arm in arms if arm.store.id == name}) for name in stores}
    return {name: Encoder(store, layers[name], device, trust) for name, store in stores.items()}
