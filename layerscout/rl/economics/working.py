"""Settings and seeds in, agents that worked their hours out: one soft actor-critic of many runs, its multiplier, its log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from layerscout import registry
from layerscout.rl.agents.sac import SAC, sac_on_features
from layerscout.rl.economics.config import WorkConfig
from layerscout.rl.economics.data_value import data_value
from layerscout.rl.economics.episode_log import EpisodeLog, Row, episode_row
from layerscout.rl.economics.lagrangian import Curriculum, ascend
from layerscout.rl.economics.ledger import Terms, WorkLedger
from layerscout.rl.economics.novelty import novelty_of
from layerscout.rl.economics.spread import allocate_spread
from layerscout.rl.memory.replay import run_generators
from layerscout.worlds.labour.base import LabourWorld
from layerscout.worlds.labour.trade import STEPS_PER_HOUR, expected_hour
from layerscout.worlds.playing import episode_seed

SAMPLING, EXPLORING = 1, 2  # purposes of a run's random streams
EVALUATED = 2**32  # seeds of the evaluation's hours stand above those of training


class Judgement(NamedTuple):
    """What a deterministic policy is expected to earn, in closed form, on the states of its own hours; one number a run."""

    episode: int
    profit: Float[np.ndarray, " run"]  # dollars an hour
    error: Float[np.ndarray, " run"]  # share
    speed: Float[np.ndarray, " run"]
    care: Float[np.ndarray, " run"]


@dataclass
class Work:
    """What all runs did and learned at work: their agent, how it was judged, and a log of every episode."""

    agent: SAC
    judgements: list[Judgement] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)  # [episode][run]

    def column(self, name: str) -> Float[np.ndarray, "episode run"]:
        """Return one of the log's columns; NaN where it is absent."""
        return np.array([[math.nan if row[name] is None else row[name] for row in hour] for hour in self.rows], dtype=np.float64)


class Workplace:
    """The runs of one experiment, side by side: every episode is an hour in every run.

    Parameters
    ----------
    config
        Settings.
    seeds
        One a run; a run's hours, first weights and noise are functions of its seed.
    """

    def __init__(self, config: WorkConfig, seeds: Sequence[int]) -> None:
        self.config, self.seeds, runs = config, tuple(seeds), len(seeds)
        options = {name: getattr(config, name) for name in ("price", "damage", "energy")}
        self._kind = registry.load("world", config.environment)
        self._options = options
        self.world: LabourWorld = self._kind(runs, **options)
        self.agent = sac_on_features(config.sac, 4, seeds, dimensions=2)
        self.agent.density_shift = 2.0 * math.log(2.0)  # actions are counted in [0, 1]
        self.ledger = WorkLedger(
            runs, min(config.sac.capacity, config.episodes * STEPS_PER_HOUR), 4, 2, weighted=config.replay == "novelty"
        )
        self.novelty = novelty_of(config.novelty, seeds)
        self.curriculum = Curriculum(config.first_target, config.last_target, config.target_episodes)
        self.multiplier = np.zeros(runs)
        self.usual = np.full(runs, 1.0)
        self.values = [data_value() for _ in seeds]
        self._before: list[float | None] = [None] * runs
        self._sampling, self._exploring = run_generators(seeds, SAMPLING), run_generators(seeds, EXPLORING)
        self._actor = self.agent.optimisers["actor"].values
        self._settled = self._actor.clone()  # the running mean of the actor's weights: what is judged
        self.steps = 0

    def hour(self, episode: int) -> list[Row]:
        """Work one hour in every run, learn on the way, move the multiplier; return the hour's rows."""
        world, config, runs = self.world, self.config, len(self.seeds)
        target = self.curriculum.target(episode)
        terms = Terms(self.multiplier, target, self.usual, config.penalty, config.reward == "cumulative", config.reward_scale)
        world.reset(np.arange(runs), np.array([episode_seed(seed, episode) for seed in self.seeds]))
        actions, losses, novelties = np.zeros((STEPS_PER_HOUR, runs, 2)), [], np.zeros((STEPS_PER_HOUR, runs))
        for step in range(STEPS_PER_HOUR):
            z = world.state()
            action = self.agent.explore(z[:, None], self.steps, self._exploring)[:, 0]
            outcome = world.step(action)
            actions[step], novelties[step] = 0.5 * (action + 1.0), self.novelty(z)
            hours = (step + 1) / STEPS_PER_HOUR
            profit = STEPS_PER_HOUR * outcome.reward if config.reward == "step" else world.earned() / hours
            ended = outcome.terminated if config.end == "truncated" else outcome.truncated
            self.ledger.add(
                z,
                action,
                world.state(),
                ended,
                profit=profit,
                errors=world.minute_errors,
                attempts=world.minute_attempts,
                rate=world.errors / world.attempts,
                novelty=novelties[step],
            )
            self.steps += 1
            if self.steps > config.sac.warm_up and self.steps % config.sac.train_interval == 0:
                losses.append(self._learn(terms))
        return self._close(episode, target, actions.mean(0), novelties.mean(0), np.mean(losses, axis=0) if losses else None)

    def judge(self, episode: int) -> Judgement:
        """Ask the policy about the states of its own hours, and say in closed form what its actions are expected to earn."""
        runs, hours = len(self.seeds), self.config.evaluation_hours
        world: LabourWorld = self._kind(runs * hours, **self._options)
        world.reset(np.arange(runs * hours), np.array([EVALUATED + seed * hours + k for seed in self.seeds for k in range(hours)]))
        actions = np.zeros((STEPS_PER_HOUR, runs, hours, 2))
        playing = self._actor.clone()
        self._actor.copy_(self._settled)
        for step in range(STEPS_PER_HOUR):
            action = self.agent.act(world.state().reshape(runs, hours, 4))
            world.step(action.reshape(-1, 2))
            actions[step] = 0.5 * (action + 1.0)
        self._actor.copy_(playing)
        speed, care = actions[..., 0], actions[..., 1]
        hour = expected_hour(world.trade, speed, care, world.prices)
        return Judgement(episode, *(figure.mean(axis=(0, 2)) for figure in (hour.profit, hour.error_rate, speed, care)))

    def _learn(self, terms: Terms) -> Float[np.ndarray, " run"]:
        batch, places = self.ledger.sample(self.config.sac.batch, self._sampling, terms, self.config.weighting)
        loss = self.agent.update(batch)
        share = (self.config.averaging + 1.0) / (self.agent.updates + self.config.averaging)  # Shamir and Zhang 2013, eq. 5
        self._settled.lerp_(self._actor, share)
        self.ledger.reweigh(places, self.agent.temporal_error)
        return loss

    def _close(
        self,
        episode: int,
        target: float,
        action: Float[np.ndarray, "run 2"],
        novelty: Float[np.ndarray, " run"],
        loss: Float[np.ndarray, " run"] | None,
    ) -> list[Row]:
        world, config = self.world, self.config
        before = self.multiplier
        if config.step_size and self.steps > config.sac.warm_up:
            self.multiplier = ascend(before, world.errors / world.attempts, target, config.step_size)
        self.usual = world.attempts / STEPS_PER_HOUR
        temperature = self.agent.temperature.logarithm.detach().exp().cpu().numpy().reshape(-1)
        rows = []
        for run, counts in enumerate(world.counts().tolist()):
            past, product = self._before[run], float(counts[0])
            foretold, gain = self.values[run].predict(float(novelty[run])), None if past is None else product - past
            plain = episode_row(world.prices, tuple(counts))
            shared = allocate_spread(plain["implied_wage"], world.prices.human_wage, 1.0, foretold or 0.0, gain or 0.0)
            measured: dict[str, Any] = {
                "episode": episode,
                "seed": self.seeds[run],
                "speed": float(action[run, 0]),
                "care": float(action[run, 1]),
            }
            measured |= {"novelty": float(novelty[run]), "predicted_gain": foretold, "gain": gain, "temperature": float(temperature[run])}
            measured["critic_loss"] = None if loss is None else float(loss[run])
            rows.append(
                episode_row(
                    world.prices,
                    tuple(counts),
                    spread=shared,
                    error_target=target,
                    multiplier=float(before[run]),
                    next_multiplier=float(self.multiplier[run]),
                    hinge=config.penalty == "hinge",
                    **measured,
                )
            )
            if gain is not None:
                self.values[run].update(float(novelty[run]), gain)
            self._before[run] = product
        return rows


def work(config: WorkConfig, seeds: Sequence[int], out: Path | None = None) -> Work:
    """Work ``config.episodes`` hours in every run.

    Parameters
    ----------
    config
        Settings.
    seeds
        One a run.
    out
        A folder for the log of episodes; None keeps it in memory alone.
    """
    place = Workplace(config, seeds)
    done = Work(place.agent)
    for episode in range(config.episodes):
        done.rows.append(place.hour(episode))
        if (episode + 1) % config.evaluate_every == 0 or episode + 1 == config.episodes:
            done.judgements.append(place.judge(episode + 1))
    if out is not None:
        with EpisodeLog(out) as log:
            for hour in done.rows:
                for row in hour:
                    log.add(row)
    return done
