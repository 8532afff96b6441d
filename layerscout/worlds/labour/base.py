"""Many copies of one hour of work in, the face of a world out: attempts and errors of each minute, what they earn, and the scene."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.core import StepOutcome
from layerscout.worlds.labour.scene import FRAMES_A_MINUTE, SIZE, Moment
from layerscout.worlds.labour.trade import STEPS_PER_HOUR, Prices, Trade, optimum

OBSERVATIONS = ("pixels", "state")
STATE_SCALES = np.array([60.0 * STEPS_PER_HOUR, 100.0, 100.0, 10.0])  # seconds, completed, attempts, errors
MOST_ATTEMPTS = 32  # a minute: Poisson(2.4) exceeds it with probability below 1e-24


class LabourWorld:
    """One hour of a trade: sixty minutes, each with a speed and a care; attempts are Poisson, errors binomial.

    The return of an episode is the profit of its hour in dollars, price · MP − damage · error rate · MP − energy; the reward
    of a minute is what that sum, over the hour until now, gained in it. The hour's end is a truncation: work goes on tomorrow.

    Parameters
    ----------
    copies
        Hours side by side.
    observation
        What Gymnasium's environments give: ``pixels`` or ``state``.
    raw
        The state in seconds and counts; False: scaled to about [0, 1].
    price, damage, energy, human_wage
        Dollars a good unit, an error, an hour, and an hour of a person; left out: the trade's own.
    """

    trade: ClassVar[Trade]
    action_count = 0
    action_dimensions = 2
    action_low, action_high = 0.0, 1.0  # of Gymnasium's environments: speed and care as they are
    frames_per_second = FRAMES_A_MINUTE  # of a film, which shows a minute in a second
    frame_shape = (SIZE, SIZE, 3)
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        copies: int,
        observation: str = "pixels",
        raw: bool = False,
        price: float | None = None,
        damage: float | None = None,
        energy: float | None = None,
        human_wage: float | None = None,
    ) -> None:
        if observation not in OBSERVATIONS:
            raise UsageError(
                f"unknown observation '{observation}' of a labour world{suggest(str(observation), OBSERVATIONS)}",
                hint=f"observation is one of: {', '.join(OBSERVATIONS)}",
            )
        own = self.trade.prices
        self.prices = Prices(
            own.price if price is None else price,
            own.damage if damage is None else damage,
            own.energy if energy is None else energy,
            own.human_wage if human_wage is None else human_wage,
        )
        self.copies, self.raw, self.observes_state = copies, raw, observation == "state"
        self.done = np.ones(copies, dtype=bool)
        self.clock = np.zeros(copies, dtype=np.int64)
        self.draws = np.zeros((copies, STEPS_PER_HOUR, 2))  # an hour's luck, drawn at its start
        self.attempts, self.errors = np.zeros(copies, dtype=np.int64), np.zeros(copies, dtype=np.int64)
        self.minute_attempts, self.minute_errors = np.zeros(copies, dtype=np.int64), np.zeros(copies, dtype=np.int64)
        self.action = np.zeros((copies, 2))  # speed and care of the minute that ended
        self.phase = np.zeros((copies, 2))  # of the hand's stroke, before and after that minute, in strokes
        best = optimum(self.trade, self.prices)
        self._best = (2.0 * np.array([best.speed, best.care]) - 1.0).astype(np.float32)

    def draw(self, moment: Moment) -> UInt8[np.ndarray, "copy 64 64 3"]:
        """Paint the scene at one moment: 64 × 64 RGB pictures, one for each chosen copy."""
        raise AssertionError("every trade says how it looks")

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Begin new hours in the copies ``which``; the luck of all sixty minutes is drawn from the seed at once."""
        for copy, seed in zip(which, seeds, strict=True):
            generator = np.random.default_rng(int(seed))
            self.draws[copy] = generator.random((STEPS_PER_HOUR, 2))
            self.phase[copy] = generator.random()
        for column in (self.clock, self.attempts, self.errors, self.minute_attempts, self.minute_errors, self.action):
            column[which] = 0
        self.done[which] = False

    def step(self, actions: Float32[np.ndarray, "copy 2"]) -> StepOutcome:
        """Work one minute at speed and care, each in [-1, 1] for [0, 1]; the reward is what the hour's profit gained, in dollars."""
        live = ~self.done
        action = np.clip(0.5 * (np.asarray(actions, np.float64) + 1.0), 0.0, 1.0)
        luck = self.draws[np.arange(self.copies), np.minimum(self.clock, STEPS_PER_HOUR - 1)]
        attempts = np.where(live, np.maximum(1, poisson(self.trade.rate(*action.T), luck[:, 0])), 0)
        errors = binomial(attempts, self.trade.error_probability(*action.T), luck[:, 1])
        before = self.earned()
        self.attempts += attempts
        self.errors += errors
        self.clock[live] += 1
        self.minute_attempts[live], self.minute_errors[live], self.action[live] = attempts[live], errors[live], action[live]
        self.phase[live] = np.stack([self.phase[live, 1] % 1.0, self.phase[live, 1] % 1.0 + 0.12 + 0.28 * action[live, 0]], axis=1)
        truncated = live & (self.clock >= STEPS_PER_HOUR)
        self.done |= truncated
        return StepOutcome((self.earned() - before).astype(np.float32), np.zeros(self.copies, dtype=bool), truncated)

    def earned(self) -> NDArray[np.float64]:
        """Dollars of every copy's hour until now: price · completed − damage · error rate · completed − energy · hours."""
        completed = self.attempts - self.errors
        rate = self.errors / np.maximum(self.attempts, 1)
        return completed * (self.prices.price - self.prices.damage * rate) - self.prices.energy * self.clock / STEPS_PER_HOUR

    @property
    def largest_state(self) -> Float32[np.ndarray, " feature"]:
        """The largest state there is: the whole hour, and more units than a hand ever takes up."""
        largest = np.array([60.0, *[MOST_ATTEMPTS] * 3]) * STEPS_PER_HOUR
        return (largest if self.raw else largest / STATE_SCALES).astype(np.float32)

    def counts(self) -> Int64[np.ndarray, "copy 3"]:
        """Completed units, attempts and errors of every copy's hour until now."""
        return np.stack([self.attempts - self.errors, self.attempts, self.errors], axis=1)

    def state(self) -> Float32[np.ndarray, "copy 4"]:
        """Seconds, completed units, attempts and errors of the hour until now; scaled to about [0, 1] unless ``raw``."""
        seconds = 60.0 * self.clock
        raw = np.concatenate([seconds[:, None], self.counts()], axis=1)
        return (raw if self.raw else raw / STATE_SCALES).astype(np.float32)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The scene at the end of the minute, uint8 ``[copy, 64, 64, 3]``; None: of all copies."""
        return self.draw(self._moment(which, 1.0))

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The frames themselves, since they are RGB pictures already."""
        return self.frames(which)

    def film(self, which: NDArray[np.intp] | None = None) -> UInt8[np.ndarray, "copy 24 64 64 3"]:
        """Draw the minute that ended as one second of film, 24 frames, of which the last one is the step's own frame."""
        shares = np.arange(1, FRAMES_A_MINUTE + 1) / FRAMES_A_MINUTE
        return np.stack([self.draw(self._moment(which, float(share))) for share in shares], axis=1)

    def expert(self) -> Float32[np.ndarray, "copy 2"]:
        """The one speed and care that earn most on average at these prices, in [-1, 1]; it does not look at the state."""
        return np.tile(self._best, (self.copies, 1))

    def close(self) -> None:
        """The world holds neither files nor processes, so nothing is released."""

    def _moment(self, which: NDArray[np.intp] | None, share: float) -> Moment:
        chosen = np.arange(self.copies) if which is None else np.asarray(which, dtype=np.intp)
        begun, ended = self.phase[chosen].T
        good = self.minute_attempts[chosen] - self.minute_errors[chosen]
        return Moment(
            share=share,
            clock=(self.clock[chosen] - (self.clock[chosen] > 0) * (1.0 - share)) / STEPS_PER_HOUR,
            speed=self.action[chosen, 0],
            care=self.action[chosen, 1],
            phase=begun + share * (ended - begun),
            good=np.floor(share * good).astype(np.int64),
            bad=np.where(share >= 0.5, self.minute_errors[chosen], 0),
            completed=(self.attempts - self.errors)[chosen] - good + np.floor(share * good).astype(np.int64),
            errors=self.errors[chosen] - np.where(share >= 0.5, 0, self.minute_errors[chosen]),
        )


def poisson(rate: NDArray[np.float64], luck: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn uniform numbers into Poisson ones by the inverse of the distribution function: more luck is never fewer."""
    term = np.exp(-rate)
    reached = term.copy()
    count = np.zeros(len(rate), dtype=np.int64)
    for number in range(1, MOST_ATTEMPTS + 1):
        count += luck >= reached
        term = term * rate / number
        reached += term
    return count


def binomial(attempts: NDArray[np.int64], probability: NDArray[np.float64], luck: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn uniform numbers into binomial ones by the inverse of the distribution function; 0 of 0 attempts."""
    term = (1.0 - probability) ** attempts
    odds = probability / (1.0 - probability)
    reached = term.copy()
    count = np.zeros(len(attempts), dtype=np.int64)
    for number in range(1, int(attempts.max(initial=0)) + 1):
        count += (luck >= reached) & (number <= attempts)
        term = term * np.maximum(attempts - number + 1, 0) / number * odds
        reached += term
    return count
