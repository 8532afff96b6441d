"""Features and actions in, two values of every action out: twin critics with a leading run axis, gradients written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from layerscout.errors import UsageError
from layerscout.rl.networks.layers import FIRST_CRITIC, SECOND_CRITIC, Head, RunNetwork


class Tape(NamedTuple):
    """What a backward pass needs: both heads' tapes, the action, which chose among outputs if it is discrete, and the trunk's tape."""

    heads: tuple[list[Tensor], list[Tensor]]
    action: Tensor
    trunk: Any


class Critic(RunNetwork):
    """Q₁(z, a) and Q₂(z, a): two heads with first weights of their own, for continuous or for discrete actions.

    A continuous action stands before the features, so that narrower arms can be padded behind them; for discrete actions a
    head has one output an action.

    Parameters
    ----------
    width
        Features in (the common width of all arms, or what ``trunk`` gives).
    seeds
        One seed a run.
    dimensions, actions
        Numbers of a continuous action, or how many discrete ones there are; the other is 0.
    kind, hidden, live_widths
        See `Head`.
    counted
        What the heads are given for a continuous action's -1 and 1.
    trunk
        A trained network [run, batch, ...] → [run, batch, width] before both heads; None: they see the features themselves.

    Raises
    ------
    UsageError
        Both kinds of actions, or neither, are asked for.

    References
    ----------
    Fujimoto et al. 2018, arXiv 1802.09477, eq. 10 (the smaller of two).
    """

    def __init__(
        self,
        width: int,
        seeds: Sequence[int],
        *,
        dimensions: int = 0,
        actions: int = 0,
        kind: Literal["linear", "mlp"] = "mlp",
        hidden: Sequence[int] = (256, 256),
        live_widths: Sequence[int] | None = None,
        counted: tuple[float, float] = (-1.0, 1.0),
        trunk: RunNetwork | None = None,
    ) -> None:
        super().__init__(len(seeds))
        if (dimensions > 0) == (actions > 0):
            raise UsageError(
                f"a critic of {dimensions} action dimensions and {actions} discrete actions", hint="one of the two is 0, the other is not"
            )
        self.dimensions = dimensions
        self._scale, self._middle = (counted[1] - counted[0]) / 2.0, (counted[1] + counted[0]) / 2.0
        live = None if live_widths is None else [dimensions + live for live in live_widths]
        options = {"kind": kind, "hidden": hidden, "live_widths": live}
        self.trunk = trunk
        self.first, self.second = (
            Head(dimensions + width, actions or 1, seeds, **options, part=part)  # type: ignore[arg-type]
            for part in (FIRST_CRITIC, SECOND_CRITIC)
        )

    def forward(
        self, z: Shaped[Tensor, "run batch *feature"], action: Shaped[Tensor, "run batch *dimension"]
    ) -> Float[Tensor, "run batch 2"]:
        """Return Q₁ and Q₂ of the actions that are given, side by side in the last axis."""
        joined = self._joined(z if self.trunk is None else self.trunk(z), action)
        return self._of_taken([self.first(joined), self.second(joined)], action)

    @torch.no_grad()
    def record_pair(
        self, z: Shaped[Tensor, "run batch *feature"], action: Shaped[Tensor, "run batch *dimension"]
    ) -> tuple[Float[Tensor, "run batch 2"], Tape]:
        """Return the values and a tape from which `pull_back` and `action_slope` compute gradients."""
        features, trunk_tape = (z, None) if self.trunk is None else self.trunk.record(z, learned=z.shape[1])
        joined = self._joined(features, action)
        (first, one), (second, two) = (head.record(joined, learned=joined.shape[1]) for head in (self.first, self.second))
        return self._of_taken([first, second], action), Tape((one, two), action, trunk_tape)

    @torch.no_grad()
    def pull_back(self, tape: Tape, slope: Float[Tensor, "run batch 2"], out: Sequence[Tensor]) -> None:
        """Write the gradient of sum(slope · values) by every parameter into ``out``, in the order of ``parameters()``."""
        places = len(list(self.first.parameters()))
        trunk, one, two = out[: -2 * places], out[-2 * places : -places], out[-places:]
        slopes = self._by_output(tape, slope)
        for head, own, by_output, place in zip((self.first, self.second), tape.heads, slopes, (one, two), strict=True):
            head.pull_back(own, by_output, place)
        if self.trunk is not None:
            self.trunk.pull_back(tape.trunk, self._input_slope(tape, slopes, slice(self.dimensions, None)), trunk)

    @torch.no_grad()
    def feature_slope(self, tape: Tape, slope: Float[Tensor, "run batch 2"]) -> Float[Tensor, "run batch width"]:
        """Return the gradient of sum(slope · values) by the features that the heads saw."""
        return self._input_slope(tape, self._by_output(tape, slope), slice(self.dimensions, None))

    @torch.no_grad()
    def action_slope(self, tape: Tape, slope: Float[Tensor, "run batch 2"]) -> Float[Tensor, "run batch dimension"]:
        """Return the gradient of sum(slope · values) by a continuous action."""
        by_input = self._input_slope(tape, self._by_output(tape, slope), slice(0, self.dimensions))
        return by_input if self._scale == 1.0 else by_input * self._scale

    def _input_slope(self, tape: Tape, slopes: Sequence[Tensor], columns: slice) -> Float[Tensor, "run batch _"]:
        one, two = slopes
        return self.first.input_slope(tape.heads[0], one, columns).add_(self.second.input_slope(tape.heads[1], two, columns))

    def frozen_multiply_adds(self) -> int:
        """Those of the trunk's frozen layer; the two heads are all trained."""
        return 0 if self.trunk is None else self.trunk.frozen_multiply_adds()

    def _joined(self, z: Float[Tensor, "run batch width"], action: Shaped[Tensor, "run batch *dimension"]) -> Float[Tensor, "run batch _"]:
        if not self.dimensions:
            return z
        given = action if self._scale == 1.0 and not self._middle else self._scale * action + self._middle
        return torch.cat([given, z], dim=-1)

    def _of_taken(self, values: list[Tensor], action: Shaped[Tensor, "run batch *dimension"]) -> Float[Tensor, "run batch 2"]:
        if self.dimensions:
            return torch.cat(values, dim=-1)
        return torch.cat([each.gather(-1, action[..., None]) for each in values], dim=-1)

    def _by_output(self, tape: Tape, slope: Float[Tensor, "run batch 2"]) -> list[Tensor]:
        """Pull a slope by the values of the taken action back to one by every output of each head."""
        parts: list[Any] = [slope[..., :1], slope[..., 1:]]
        if self.dimensions:
            return parts
        outputs = self.first.layers[-1].width_out
        return [part.new_zeros(*part.shape[:2], outputs).scatter_(-1, tape.action[..., None], part) for part in parts]
