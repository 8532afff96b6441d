"""Frames of many games in, what each arm's head sees out: the frozen representations at work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8

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

    One model in memory for each store that an arm needs, whatever the number of arms and runs; a clip runs no deeper
    than its own arm's layer. What comes out for a clip equals the stored row of that clip (to float rounding, because
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
        for number, (arm, representation) in enumerate(zip(self._arms, self._representations, strict=True)):
            copies = np.flatnonzero((self._arm_of_copy == number) & live)
            batches = [copies[low : low + BATCH] for low in range(0, len(copies), BATCH)]
            encode = partial(self._encode, arm, representation)
            for batch, features in zip(batches, batches_in_threads(encode, batches, self._workers), strict=True):
                seen[batch, : arm.width] = features
        return seen

    def _encode(
        self, arm: ArmSpec, representation: Representation, copies: Int[np.ndarray, " copy"]
    ) -> Float32[np.ndarray, "copy feature"]:
        clips = torch.from_numpy(self._windows[arm.store.id].clips(copies))
        return representation(self._encoders[arm.store.id](clips, arm.layer).cpu().numpy())


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
