"""Settings and seeds in, agents that worked their hours out: one soft actor-critic of many runs, its multiplier, its log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from layerscout import registry
from layerscout.rl.agents.sac import sac_on_features
from layerscout.rl.economics.averaging import WeightMean
from layerscout.rl.economics.config import WorkConfig
from layerscout.rl.economics.encoding import Encoding, Frames, Observed, encoding_of, require_width
from layerscout.rl.economics.episode_log import EpisodeLog, Row
from layerscout.rl.economics.lagrangian import Curriculum, ascend
from layerscout.rl.economics.ledger import Terms, WorkLedger
from layerscout.rl.economics.novelty import novelty_of
from layerscout.rl.economics.recorded_hours import fill_with_recorded
from layerscout.rl.economics.worked import Books, Judgement, Work, WorkedHour
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.worlds.labour.base import LabourWorld
from layerscout.worlds.labour.trade import STEPS_PER_HOUR, expected_hour
from layerscout.worlds.playing import episode_seed

SAMPLING, EXPLORING = 1, 2  # purposes of a run's random streams
PARTS = ("agent", "ledger", "novelty", "books", "settled")  # of a workplace, each with a state of its own
COUNTED = {"middle": (-1.0, 1.0), "zero": (0.0, 1.0), "one": (1.0, 0.0)}  # what critics are given for no speed or care, and for all of it
EVALUATED = 2**32  # seeds of the evaluation's hours stand above those of training


class Workplace:
    """The runs of one experiment, side by side: every episode is an hour in every run.

    Parameters
    ----------
    config
        Settings.
    seeds
        One a run; a run's hours, first weights and noise are functions of its seed.
    encoding
        What the agent sees; None: what the settings say. Whichever it is, the agent, its replay and the economics are the same.
    root
        Folder of all stores; None: the default.
    trust
        Whether a store's checkpoint may be fetched from where it says.

    Raises
    ------
    UsageError
        The encoder's width is not the agent's, or its store was made from another environment.
    """

    def __init__(
        self, config: WorkConfig, seeds: Sequence[int], encoding: Encoding | None = None, root: Path | None = None, trust: bool = False
    ) -> None:
        self.config, self.seeds, runs = config, tuple(seeds), len(seeds)
        self._options = {name: getattr(config, name) for name in ("price", "damage", "energy", "human_wage")}
        self._kind = registry.load_entry("world", config.environment)
        self.world: LabourWorld = self._kind(runs, **self._options)
        self.encoding = encoding or encoding_of(config.encoder, config.sac, config.environment, root, trust)
        counted = COUNTED[config.actions]
        self.agent = sac_on_features(config.sac, self.encoding.width, seeds, dimensions=2, counted=counted)
        self.agent.density_shift = 2.0 * math.log(2.0)  # actions are counted in [0, 1]
        self.latents = self.encoding.learner(self.seeds, self.agent.failed) if self.encoding.learner is not None else None
        self.agent.wants_latent_slope = self.latents is not None
        kept = min(config.sac.capacity, config.episodes * STEPS_PER_HOUR + self.encoding.recorded_steps)
        weighted, shape = config.replay == "novelty", self.encoding.shape
        features = self.encoding.features
        self.ledger = WorkLedger(runs, kept, shape, 2, weighted=weighted, dtype=self.encoding.dtype, features=features)
        self.sight = self.encoding.sight(runs)
        self.novelty = novelty_of(config.novelty, seeds, self.encoding.width, 2, config.denoiser)
        self.curriculum = Curriculum(config.first_target, config.last_target, config.target_episodes)
        self._first_entropy = self.agent.target_entropy
        self.multiplier = np.zeros(runs)
        self.usual = np.full(runs, 1.0)
        self.books = Books(seeds)
        self._sampling, self._exploring = run_generators(seeds, SAMPLING), run_generators(seeds, EXPLORING)
        self.settled = WeightMean(self._averaged, config.averaging)
        self._averages = False  # whether that mean has begun
        self.steps = 0
        if config.encoder.recorded:
            fill_with_recorded(self.ledger, self.encoding, self.world, config.reward, cut=config.end == "terminated")

    def hours(self) -> Iterator[WorkedHour]:
        """Work the hours that are left, and judge the policy after every ``evaluate_every`` of them and after the last."""
        config = self.config
        for episode in range(self.steps // STEPS_PER_HOUR, config.episodes):
            rows, asked = self.hour(episode), (episode + 1) % config.evaluate_every == 0 or episode + 1 == config.episodes
            yield WorkedHour(rows, self.judge(episode + 1) if asked else None)

    def trainable_parameters(self) -> int:
        """Numbers that one run trains in the end: agent, and what it sees through."""
        own = int(self.agent.trainable_parameters()[0])
        return own if self.latents is None else own + int(self.latents.trainable_parameters()[0])

    def hour(self, episode: int) -> list[Row]:
        """Work one hour in every run, learn on the way, move the multiplier; return the hour's rows."""
        world, config, runs = self.world, self.config, len(self.seeds)
        self._maybe_tune(episode)
        self._averages = episode >= config.averaging_after
        self.agent.target_entropy = self._target_entropy(episode)
        terms = self.terms(episode)
        target = terms.target
        world.reset(np.arange(runs), np.array([episode_seed(seed, episode) for seed in self.seeds]))
        actions, losses, novelties = np.zeros((STEPS_PER_HOUR, runs, 2)), [], np.zeros((STEPS_PER_HOUR, runs))
        frames = self._frames()
        seen = self.sight.begin(world, frames)
        self.novelty.begin(frames)
        features, z = self._looked_at(seen)
        for step in range(STEPS_PER_HOUR):
            action = self.agent.explore(z[:, None], self.steps, self._exploring)[:, 0]
            actions[step], novelties[step] = 0.5 * (action + 1.0), self.novelty(z, action, frames)
            outcome = world.step(action)
            frames = self._frames()
            before, seen_before = features, seen
            seen = self.sight.after(world, frames)
            features, z = self._looked_at(seen)
            profit = STEPS_PER_HOUR * outcome.reward if config.reward == "step" else world.earned() * STEPS_PER_HOUR / (step + 1)
            self.ledger.add(
                seen_before,
                action,
                seen,
                outcome.terminated if config.end == "truncated" else outcome.truncated,
                profit=profit,
                errors=world.minute_errors,
                attempts=world.minute_attempts,
                errors_before=world.errors - world.minute_errors,
                attempts_before=world.attempts - world.minute_attempts,
                novelty=novelties[step],
                features=None if before is None or features is None else np.stack([before, features], axis=1),
            )
            self.steps += 1
            if self.steps > config.sac.warm_up and self.steps % config.sac.train_interval == 0:
                losses.append(self.learn(terms))
        # each run's own row is summed: sums over a stack of runs round by how many there are
        return self._close(episode, target, actions.mean(0), novelties.T.copy().mean(1), np.mean(losses, axis=0) if losses else None)

    def terms(self, episode: int) -> Terms:
        """Return what prices a stored step in an episode: today's λ and e*."""
        config, target = self.config, self.curriculum.target(episode)
        terms = Terms(self.multiplier, target, self.usual, config.penalty, config.reward == "cumulative", config.reward_scale)
        return terms._replace(centre=self.ledger.mean(terms)) if config.centred else terms

    def _target_entropy(self, episode: int) -> float:
        first, last, after = self._first_entropy, self.config.last_entropy, self.config.entropy_after
        return first if last is None else float(np.interp(episode, (after, max(after + 1, self.config.episodes - 1)), (first, last)))

    def judge(self, episode: int) -> Judgement:
        """Ask the policy about what it sees in its own hours, and say in closed form what its actions are expected to earn."""
        runs, hours = len(self.seeds), self.config.evaluation_hours
        world: LabourWorld = self._kind(runs * hours, **self._options)
        world.reset(np.arange(runs * hours), np.array([EVALUATED + seed * hours + k for seed in self.seeds for k in range(hours)]))
        actions = np.zeros((STEPS_PER_HOUR, runs, hours, 2))
        with self.settled.in_place(self._averaged):
            sight = self.encoding.sight(runs * hours)
            seen = sight.begin(world, world.frames() if self.encoding.sees else None)
            for step in range(STEPS_PER_HOUR):
                action = self.agent.act(self._encoded(seen.reshape(runs, hours, *self.encoding.shape))[1])
                world.step(action.reshape(-1, 2))
                actions[step] = 0.5 * (action + 1.0)
                seen = sight.after(world, world.frames() if self.encoding.sees else None)
        speed, care = actions[..., 0], actions[..., 1]
        hour = expected_hour(world.trade, speed, care, world.prices)
        return Judgement(episode, *(figure.mean(axis=(0, 2)) for figure in (hour.profit, hour.error_rate, speed, care)))

    @property
    def _averaged(self) -> list[Float[Tensor, "run parameter"]]:
        """The weights whose running mean is judged: the actor's, and those of what it sees through."""
        return [self.agent.optimisers["actor"].values, *([] if self.latents is None else self.latents.values)]

    def _maybe_tune(self, episode: int) -> None:
        if self.latents is not None and self.config.encoder.tune_after == episode:
            self.latents.tune()
            self.settled.follow(self._averaged)

    def _frames(self) -> Frames | None:
        return self.world.frames() if self.encoding.sees or self.novelty.sees else None

    def _looked_at(self, seen: Observed) -> tuple[Float32[np.ndarray, "run feature"] | None, Float32[np.ndarray, "run width"]]:
        features, z = self._encoded(seen[:, None])
        return None if features is None else features[:, 0], z[:, 0]

    def _encoded(self, seen: Shaped[np.ndarray, "run batch *feature"]) -> tuple[np.ndarray | None, Float32[np.ndarray, "run batch width"]]:
        """Return a frozen video model's features, where there is one, and what the agent is given."""
        if self.latents is None:
            return None, seen
        features = self.latents.frozen_features(seen) if self._frozen else None
        z = self.latents.encode(seen if features is None else features)
        require_width(z, self.encoding.width)
        return features, z

    @property
    def _frozen(self) -> bool:
        return self.latents is not None and self.latents.backbone is not None and not self.latents.tuned

    def learn(self, terms: Terms) -> Float[np.ndarray, " run"]:
        """Take one update of every run; return the critics' losses before it."""
        batch, places = self.ledger.sample(self.config.sac.batch, self._sampling, terms, self.config.weighting, of_features=self._frozen)
        if self.latents is not None:
            batch = batch._replace(states=self.latents.record(batch.states))
        loss = self.agent.update(batch)
        if self.latents is not None and self.agent.latent_slope is not None:
            self.latents.learn(self.agent.latent_slope)
        self.novelty.learn(batch)
        self.settled.take(self._averaged, self._averages)
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
        for run in range(len(self.seeds)):
            measured: dict[str, float | None] = {"episode": episode, "speed": float(action[run, 0]), "care": float(action[run, 1])}
            measured |= {"temperature": float(temperature[run]), "critic_loss": None if loss is None else float(loss[run])}
            constraint = {
                "multiplier": float(before[run]),
                "next_multiplier": float(self.multiplier[run]),
                "hinge": config.penalty == "hinge",
            }
            rows.append(self.books.close(world, run, float(novelty[run]), measured, error_target=target, **constraint))
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Return what a bit-exact continuation needs between two hours."""
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        latents = None if self.latents is None else self.latents.state_dict()
        streams = {"sampling": generator_states(self._sampling), "exploring": generator_states(self._exploring)}
        figures = {"multiplier": self.multiplier.copy(), "usual": self.usual.copy(), "steps": self.steps}
        return parts | streams | figures | {"latents": latents}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave; the next hour is the one that would have followed."""
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        if self.latents is not None:
            self.latents.load_state_dict(state["latents"])
        restore_generators(self._sampling, state["sampling"])
        restore_generators(self._exploring, state["exploring"])
        self.multiplier, self.usual, self.steps = state["multiplier"], state["usual"], int(state["steps"])


def work(config: WorkConfig, seeds: Sequence[int], out: Path | None = None, root: Path | None = None) -> Work:
    """Work ``config.episodes`` hours in every run.

    Parameters
    ----------
    config
        Settings.
    seeds
        One a run.
    out
        A folder for the log of episodes; None keeps it in memory alone.
    root
        Folder of all stores, where an encoder needs one.
    """
    place = Workplace(config, seeds, root=root)
    done = Work(place.agent)
    for hour in place.hours():
        done.take(hour)
    if out is not None:
        with EpisodeLog(out) as log:
            for rows in done.rows:
                for row in rows:
                    log.add(row)
    return done
