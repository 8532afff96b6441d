"""Frames of many games in, the features of their agents' world models out: a recurrent state for every game, carried from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8

from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.clips import fit
from layerscout.rl.agents.dreamer import Dreamer


class RecurrentObserver:
    """What the agents of many games know: features of their world models after all frames so far.

    Parameters
    ----------
    agent
        Whose games these are.
    run_of_copy
        Which run each game belongs to.
    generators
        One a run, for the draws of latents while learning; None for games that are evaluated: then latents and actions are the likeliest.
    """

    def __init__(
        self, agent: Dreamer, run_of_copy: Int[np.ndarray, " copy"], generators: Sequence[np.random.Generator] | None = None
    ) -> None:
        self._agent, self._runs, self._generators = agent, np.asarray(run_of_copy), generators
        sizes, copies = agent.learners[0].sizes, len(self._runs)
        self._spec = ClipSpec((0,), (sizes.size, sizes.size, sizes.channels))
        self._below, self._top = np.zeros((copies, sizes.features), np.float32), np.zeros((copies, sizes.features), np.float32)
        self._actions = np.zeros((copies, agent.learners[0].actor.width), np.float32)
        self.frames: UInt8[np.ndarray, "copy height width channel"] = np.zeros((copies, *self._spec.frame_shape), np.uint8)
        self.arrived = self.frames.copy()  # what the newest step led to, also where a new episode has begun since
        self.shape: tuple[int, ...] = (sizes.features,)

    def start(self, which: Int[np.ndarray, " started"], frames: UInt8[np.ndarray, "started height width channel"]) -> None:
        """Begin episodes in the copies ``which``: what they know is nothing, and no action led here."""
        for column in (self._below, self._top, self._actions):
            column[which] = 0
        self._look(which, frames)

    def acted(self, actions: Float32[np.ndarray, "copy action"]) -> None:
        """Note what is played next in every copy, as the model takes it; unsaid, the likeliest action is."""
        self._actions[:] = actions

    def push(self, which: Int[np.ndarray, " moved"], frames: UInt8[np.ndarray, "moved height width channel"]) -> None:
        """Add the newest frames of the copies ``which``."""
        if self._generators is None:
            for run in np.unique(self._runs[which]).tolist():
                mine = which[self._runs[which] == run]
                self._actions[mine] = self._agent.action_vectors(self._agent.choose(run, self._top[mine]))
        self._look(which, frames)
        self.arrived[which] = self.frames[which]

    def observe(self, live: Bool[np.ndarray, " copy"]) -> Float32[np.ndarray, "copy feature"]:
        """The recurrent model's features after every game's last frame, copied; ``live`` changes nothing."""
        return self._top.copy()

    def state_dict(self) -> dict[str, Any]:
        """Return what every game's agent knows."""
        return {name: getattr(self, f"_{name}").copy() for name in ("below", "top", "actions")} | {"frames": self.frames.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back states, actions and frames of every game, in place."""
        self._below[:], self._top[:], self._actions[:], self.frames[:] = (state[name] for name in ("below", "top", "actions", "frames"))

    @torch.no_grad()
    def _look(self, which: Int[np.ndarray, " some"], frames: UInt8[np.ndarray, "some height width channel"]) -> None:
        self.frames[which] = fit(frames, self._spec)
        for run in np.unique(self._runs[which]).tolist():
            mine, learner = which[self._runs[which] == run], self._agent.learners[run]
            chances = None
            if self._generators is not None:
                chances = self._generators[run].random((2, len(mine), learner.sizes.latents), dtype=np.float32)
            given = [torch.from_numpy(column[mine]).to(learner.device) for column in (self.frames, self._below, self._top, self._actions)]
            drawn = None if chances is None else torch.from_numpy(chances).to(learner.device)
            below, top = learner.world.step(given[0], (given[1], given[2]), given[3], drawn)
            self._below[mine], self._top[mine] = below.float().cpu().numpy(), top.float().cpu().numpy()
