"""Features of the action-free model in, how new each stretch of video is out: the video-based intrinsic bonus."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerscout.rl.transfer.apv.agent_config import DreamerConfig

MOMENTUM = 0.99  # of the mean size of the bonus
TINY = 1e-8


class VideoBonus:
    """Mean distance of an averaged stretch of features to its nearest neighbours among those seen lately.

        y_t = R' mean(f_t … f_{t+τ−1});   b_t = mean of the k smallest ‖y_t − y‖ over the queue, y_t itself among them
        m ← 0.99 m + 0.01 mean |b|;   bonus = b / m

    Parameters
    ----------
    features
        Width of the features.
    config
        τ (``bonus_window``), k (``neighbours``), ``queue`` and ``projection``.
    seed
        Of R, whose entries are Normal with deviation 1 / projection.

    References
    ----------
    Seo et al. 2022, section 4.3 and the authors' code: a batch is pushed into the queue before it is looked for, so the distance to itself, 0, is
    one of the k; m begins at 1 (``StreamNorm`` of DreamerV2).
    """

    def __init__(self, features: int, config: DreamerConfig, seed: int, device: torch.device) -> None:
        drawn = np.random.default_rng([seed, 3]).standard_normal((features, config.projection), dtype=np.float32) / config.projection
        self.projection = torch.from_numpy(drawn).to(device)
        self.config = config
        self.queue = torch.zeros(config.queue, config.projection, device=device)
        self.filled, self.at, self.magnitude = 0, 0, 1.0

    @torch.no_grad()
    def __call__(self, features: Float[Tensor, "window time feature"]) -> Float[Tensor, "window early"]:
        """Push the averages of a batch into the queue and return the bonus of each."""
        with torch.autocast(features.device.type, enabled=False):  # distances of near neighbours need all digits
            averages = features.float().unfold(1, self.config.bonus_window, 1).mean(-1) @ self.projection
        rows = averages.flatten(0, 1)
        self._push(rows)
        distances = torch.cdist(rows, self.queue[: self.filled], compute_mode="donot_use_mm_for_euclid_dist")
        count = min(self.config.neighbours, self.filled)
        raw = distances.topk(count, dim=1, largest=False).values.mean(1)
        self.magnitude = MOMENTUM * self.magnitude + (1 - MOMENTUM) * float(raw.abs().mean())
        return (raw / (self.magnitude + TINY)).unflatten(0, averages.shape[:2])

    def _push(self, rows: Float[Tensor, "row projection"]) -> None:
        places = (self.at + torch.arange(len(rows), device=rows.device)) % len(self.queue)
        self.queue[places] = rows
        self.at = (self.at + len(rows)) % len(self.queue)
        self.filled = min(len(self.queue), self.filled + len(rows))

    def state_dict(self) -> dict[str, Any]:
        """Return what continues the bonus."""
        return {"queue": self.queue.cpu().numpy().copy(), "filled": self.filled, "at": self.at, "magnitude": self.magnitude}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back."""
        self.queue.copy_(torch.from_numpy(state["queue"]))
        self.filled, self.at, self.magnitude = int(state["filled"]), int(state["at"]), float(state["magnitude"])
