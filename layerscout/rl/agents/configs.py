"""The settings of every learner: frozen, closed to unknown keys, and readable without torch; steps and transitions are those of one run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from layerscout.settings import Config


class DQNConfig(Config):
    """Settings of double deep Q-learning; equal for all runs of a comparison."""

    gamma: float = Field(default=0.98, ge=0.0, le=1.0, description="Discount of a reward one step later.")
    lr: float = Field(default=1e-3, gt=0.0, description="Step size of Adam.")
    batch: int = Field(default=64, ge=1, description="Transitions in one update.")
    double: bool = Field(default=True, description="Choose the next action with the online network, value it with the target network.")
    dueling: bool = Field(default=False, description="The head adds a value and advantages.")
    n_step: int = Field(default=1, ge=1, description="Rewards that are summed before the target network takes over.")
    target_interval: int = Field(default=500, ge=1, description="Updates between two moves of the target network.")
    tau: float = Field(default=1.0, gt=0.0, le=1.0, description="How far the target moves; 1 copies the online network.")
    loss: Literal["huber", "mse"] = Field(default="huber", description="Loss of the temporal-difference error.")
    gradient_clip: float = Field(default=10.0, ge=0.0, description="Largest gradient norm of one run; 0 switches clipping off.")
    conservative: float = Field(default=0.0, ge=0.0, description="Weight of the CQL(H) term, for learning from a fixed dataset.")
    epsilon_start: float = Field(default=1.0, ge=0.0, le=1.0, description="Share of random actions at the first step.")
    epsilon_end: float = Field(default=0.05, ge=0.0, le=1.0, description="Share of random actions from epsilon_steps on.")
    epsilon_steps: int = Field(default=12_000, ge=1, description="Environment steps over which the share of random actions falls linearly.")
    warm_up: int = Field(default=500, ge=1, description="Environment steps before the first update.")
    train_interval: int = Field(default=1, ge=1, description="Environment steps between two updates.")
    capacity: int = Field(default=20_000, ge=1, description="Transitions that one run keeps.")
    head: Literal["linear", "mlp"] = Field(
        default="mlp", description="Head of a learner that is built by hand; comparisons use train.heads."
    )
    hidden: tuple[int, ...] = Field(default=(64,), description="Widths of an MLP head's hidden layers.")

    def epsilon(self, step: int) -> float:
        """Return the share of random actions at environment step ``step`` of a run."""
        return self.epsilon_start + min(1.0, step / self.epsilon_steps) * (self.epsilon_end - self.epsilon_start)


class SACConfig(Config):
    """Settings of soft actor-critic; equal for all runs of a comparison."""

    gamma: float = Field(default=0.99, ge=0.0, le=1.0, description="Discount of a reward one step later.")
    lr: float = Field(default=3e-4, gt=0.0, description="Step size of Adam, for actor, critics and temperature.")
    batch: int = Field(default=256, ge=1, description="Transitions in one update.")
    tau: float = Field(default=0.005, gt=0.0, le=1.0, description="How far the target critics move at every update.")
    hidden: tuple[int, ...] = Field(default=(256, 256), description="Widths of the hidden layers of actor and critics.")
    init_temperature: float = Field(default=1.0, gt=0.0, description="First weight of the entropy.")
    target_entropy: float | None = Field(
        default=None,
        description="Entropy of one action that the temperature aims at, in nats; None is minus the number of action dimensions.",
    )
    gradient_clip: float = Field(
        default=0.0, ge=0.0, description="Largest gradient norm of one run's actor, and of its critics; 0 switches clipping off."
    )
    warm_up: int = Field(default=500, ge=1, description="Environment steps before the first update; actions are uniform until then.")
    train_interval: int = Field(default=1, ge=1, description="Environment steps between two updates.")
    capacity: int = Field(default=20_000, ge=1, description="Transitions that one run keeps.")


class IQLConfig(Config):
    """Settings of implicit Q-learning; equal for all runs of a comparison."""

    gamma: float = Field(default=0.99, ge=0.0, le=1.0, description="Discount of a reward one step later.")
    lr: float = Field(default=3e-4, gt=0.0, description="Step size of Adam, for value, critics and policy.")
    batch: int = Field(default=256, ge=1, description="Transitions in one update.")
    tau: float = Field(default=0.005, gt=0.0, le=1.0, description="How far the target critics move at every update.")
    hidden: tuple[int, ...] = Field(default=(256, 256), description="Widths of the hidden layers of all networks.")
    expectile: float = Field(
        default=0.7, gt=0.0, lt=1.0, description="0.5 values the mean over the dataset's actions; towards 1, the best of them."
    )
    inverse_temperature: float = Field(
        default=3.0, ge=0.0, description="0 copies the dataset's actions; larger values prefer those of larger advantage."
    )
    largest_weight: float = Field(default=100.0, gt=0.0, description="Largest weight of one transition in the policy's loss.")
    gradient_clip: float = Field(
        default=0.0, ge=0.0, description="Largest gradient norm of each of one run's networks; 0 switches clipping off."
    )
    warm_up: int = Field(default=500, ge=1, description="Environment steps before the first update; played by the untrained policy.")
    train_interval: int = Field(default=1, ge=1, description="Environment steps between two updates.")
    capacity: int = Field(default=20_000, ge=1, description="Transitions that one run keeps.")


class PPOConfig(Config):
    """Settings of clipped proximal policy optimisation; equal for all runs of a comparison."""

    gamma: float = Field(default=0.99, ge=0.0, le=1.0, description="Discount of a reward one step later.")
    gae: float = Field(default=0.95, ge=0.0, le=1.0, description="λ of the generalised advantage estimate.")
    lr: float = Field(default=3e-4, gt=0.0, description="Step size of Adam, for policy and value.")
    batch: int = Field(default=64, ge=1, description="Steps in one update.")
    epochs: int = Field(default=10, ge=1, description="How often every step that was played is learned from.")
    length: int = Field(default=2_048, ge=1, description="Steps that each environment plays between two rounds of updates.")
    environments: int = Field(default=1, ge=1, description="Environments that one run plays side by side.")
    clip: float = Field(default=0.2, gt=0.0, lt=1.0, description="How far the ratio of probabilities may move and still be rewarded.")
    entropy: float = Field(default=0.0, ge=0.0, description="Weight of the policy's entropy.")
    value_weight: float = Field(default=0.5, gt=0.0, description="Weight of the value's squared error.")
    gradient_clip: float = Field(default=0.5, ge=0.0, description="Largest gradient norm of one run; 0 switches clipping off.")
    hidden: tuple[int, ...] = Field(default=(64, 64), description="Widths of the hidden layers of policy and value.")
    activation: Literal["tanh", "relu"] = Field(default="tanh", description="What follows every hidden layer of an MLP head.")
    log_deviation: float = Field(default=0.0, description="First natural logarithm of a continuous policy's standard deviation.")
    lowest_log_deviation: float = Field(default=-5.0, description="The standard deviation's logarithm never falls below this.")
    reward_scale: float = Field(default=1.0, gt=0.0, description="What rewards are multiplied by before the value learns from them.")

    @property
    def capacity(self) -> int:
        """Steps of one run that are held in memory."""
        return self.length * self.environments

    @property
    def warm_up(self) -> int:
        """Steps before the first round of updates: one whole rollout."""
        return self.capacity

    @property
    def train_interval(self) -> int:
        """Steps between two rounds of updates: one whole rollout, each learned from ``epochs`` times."""
        return self.capacity


class RidgeConfig(Config):
    """Settings of the agent in closed form; equal for all runs of a comparison."""

    form: Literal["auto", "improvement", "cloning"] = Field(
        default="auto",
        description="improvement: one ridge of the return for each action; cloning: one of what was done; auto: by what the data cover.",
    )
    penalty: float = Field(default=0.1, gt=0.0, description="λ of the ridge, on features of standard deviation 1.")
    gamma: float = Field(default=0.99, ge=0.0, le=1.0, description="Discount of a reward one step later.")
    steps: int = Field(default=0, ge=0, description="Rewards that are summed to a return; 0: to the end of the episode.")
