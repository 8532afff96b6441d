"""Settings and an environment's actions in, the learner that can take them out; the wrong learner is refused before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from layerscout.errors import UsageError
from layerscout.rl.agents.base import Agent
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, PPOConfig, SACConfig
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.iql import IQL, iql_on_features
from layerscout.rl.agents.policy import WeightedPolicy
from layerscout.rl.agents.ppo import PPO, ActorCritic, ppo_on_features
from layerscout.rl.agents.sac import SAC, sac_on_features
from layerscout.rl.config import TrainConfig
from layerscout.rl.networks.layers import Head, RunNetwork
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.worlds.core import World

Algorithm = Literal["dqn", "sac", "iql", "ppo", "ridge", "dreamer"]
NetworkMaker = Callable[[Sequence[int], int, bool], RunNetwork]
TRUNK_FEATURES = 64  # what a network on frames gives to the critics that follow it


@dataclass(frozen=True)
class ActionSpace:
    """What an environment takes: one of ``count`` actions, or ``dimensions`` numbers in [-1, 1]; the other is 0."""

    count: int
    dimensions: int

    @staticmethod
    def of(world: World) -> ActionSpace:
        """Return the action space of a world: how many discrete actions, or how many dimensions."""
        return ActionSpace(world.action_count, world.action_dimensions)

    @property
    def continuous(self) -> bool:
        """True where actions are vectors rather than one of ``count``."""
        return self.dimensions > 0


def algorithm_of(config: TrainConfig, actions: ActionSpace) -> Algorithm:
    """Return the learner that ``config.algorithm`` means here.

    Raises
    ------
    UsageError
        The learner asked for cannot take these actions, or cannot learn in this mode.
    """
    offline, asked = config.mode == "offline", config.algorithm
    if asked == "auto":
        if not actions.continuous:
            return "dqn"
        asked = "iql" if offline else "sac"
    takes = f"{config.environment} takes {'continuous' if actions.continuous else 'discrete'} actions"
    if asked == "dqn" and actions.continuous:
        raise UsageError(f"{takes}, and dqn chooses among discrete ones", hint="--set train.algorithm=auto")
    if asked == "sac" and not actions.continuous:
        raise UsageError(f"{takes}, and sac needs continuous ones", hint="--set train.algorithm=auto")
    if asked == "ppo" and offline:
        hint = "--set train.algorithm=auto, or --mode online"
        raise UsageError("ppo learns from what it plays itself, and mode offline does not play", hint=hint)
    if asked == "dreamer" and config.mode != "online":
        raise UsageError(f"dreamer learns from frames that it plays itself, and not in mode {config.mode}", hint="--mode online")
    if asked == "sac" and offline:
        raise UsageError("sac learns while it plays, and mode offline does not play", hint="--set train.algorithm=iql, or --mode online")
    if asked == "iql" and not offline:
        raise UsageError(f"iql learns from a fixed dataset, and mode {config.mode} plays", hint="--mode offline, or train.algorithm=auto")
    if asked == "ridge" and not offline:
        raise UsageError(f"ridge is solved from a fixed dataset, and mode {config.mode} plays", hint="--mode offline")
    assert asked != "pvdr", "agents that plan towards a picture have a stage of their own"
    return asked


def settings_of(config: TrainConfig, algorithm: Algorithm) -> DQNConfig | SACConfig | IQLConfig | PPOConfig | DreamerConfig:
    """Return the part of the settings that belongs to a learner that takes updates."""
    assert algorithm != "ridge", "an agent in closed form takes no updates"
    if algorithm == "dqn":
        return config.dqn
    if algorithm == "ppo":
        return config.ppo
    if algorithm == "dreamer":
        return config.dreamer
    return config.sac if algorithm == "sac" else config.iql


def updates_within(config: TrainConfig, algorithm: Algorithm) -> int:
    """Return how many updates a run's budget holds, about."""
    if config.mode == "offline":
        return config.updates
    if algorithm == "ppo":
        return -(-config.steps * config.ppo.epochs // min(config.ppo.batch, config.ppo.capacity))
    return config.steps // settings_of(config, algorithm).train_interval


def head_learner(
    config: TrainConfig,
    actions: ActionSpace,
    seeds: Sequence[int],
    width: int,
    live_widths: Sequence[int],
    head: str,
    hidden: tuple[int, ...],
) -> Agent:
    """Return a learner whose networks are heads on features; ``live_widths`` is each run's own number of features."""
    algorithm = algorithm_of(config, actions)
    if algorithm == "dqn":

        def network(runs: Sequence[int]) -> RunNetwork:
            return Head(width, actions.count, runs, head, hidden, live_widths, dueling=config.dqn.dueling)  # type: ignore[arg-type]

        return DQN(config.dqn, network, seeds, config.device)
    options: dict[str, Any] = {"dimensions": actions.dimensions, "kind": head, "live_widths": live_widths, "device": config.device}
    if algorithm == "sac":
        return sac_on_features(config.sac.model_copy(update={"hidden": hidden}), width, seeds, **options)
    if algorithm == "ppo":
        return ppo_on_features(config.ppo.model_copy(update={"hidden": hidden}), width, seeds, actions=actions.count, **options)
    return iql_on_features(config.iql.model_copy(update={"hidden": hidden}), width, seeds, actions=actions.count, **options)


def network_learner(config: TrainConfig, actions: ActionSpace, seeds: Sequence[int], network: NetworkMaker) -> Agent:
    """Return a learner around whole networks from frames to outputs, such as one with a frozen block in its middle.

    Parameters
    ----------
    network
        (seeds of the runs, outputs, whether its head is dueling) → network. For dqn it gives one value an action; for ppo a policy, and a value. The others have several: a policy, and
        before both critics (and IQL's value) one that gives 64 features, from which heads of the settings' size go on. The
        networks of one run begin with equal first weights where their shapes are equal.
    """
    algorithm = algorithm_of(config, actions)
    if algorithm == "dqn":
        return DQN(config.dqn, lambda runs: network(runs, actions.count, config.dqn.dueling), seeds, config.device)
    settings, dimensions = settings_of(config, algorithm), actions.dimensions
    if algorithm == "ppo":

        def both(runs: Sequence[int]) -> ActorCritic:
            policy, value = network(runs, dimensions or actions.count, False), network(runs, 1, False)
            return ActorCritic(policy, value, dimensions, config.ppo.log_deviation)

        return PPO(config.ppo, both, seeds, config.device)

    def critic(runs: Sequence[int]) -> Critic:
        trunk = network(runs, TRUNK_FEATURES, False)
        return Critic(TRUNK_FEATURES, runs, dimensions=dimensions, actions=actions.count, hidden=settings.hidden, trunk=trunk)

    if algorithm == "sac":
        return SAC(config.sac, lambda runs: network(runs, 2 * dimensions, False), critic, seeds, config.device)
    return IQL(
        config.iql,
        lambda runs: WeightedPolicy(network(runs, dimensions or actions.count, False), dimensions),
        critic,
        lambda runs: network(runs, 1, False),
        seeds,
        config.device,
    )
