"""The settings of an experiment with labour: frozen, closed to unknown keys, readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from layerscout.rl.agents.configs import SACConfig
from layerscout.settings import Config

SETTLED = SACConfig(
    gamma=0.9, lr=1e-3, batch=256, tau=0.01, hidden=(32, 32), init_temperature=0.1, target_entropy=-5.0, warm_up=300, train_interval=2
)


class WorkConfig(Config):
    """An agent at work: prices, the form of its reward, how errors are held, how its replay draws; equal for all runs."""

    environment: Literal["layerscout/Dishwashing-v0", "layerscout/Bricklaying-v0"] = Field(
        default="layerscout/Dishwashing-v0", description="The trade."
    )
    episodes: int = Field(default=250, ge=1, description="Hours that a run works.")
    price: float | None = Field(default=None, gt=0.0, description="Dollars a good unit; left out: the trade's own.")
    damage: float | None = Field(default=None, ge=0.0, description="Dollars an error; left out: the trade's own.")
    energy: float | None = Field(default=None, ge=0.0, description="Dollars an hour; left out: the trade's own.")
    reward: Literal["step", "cumulative"] = Field(
        default="step", description="What a minute earned, or the profit of the hour until it: both in dollars an hour."
    )
    reward_scale: float = Field(default=0.1, gt=0.0, description="Factor of the reward for the learner.")
    penalty: Literal["linear", "hinge"] = Field(default="linear", description="Of λ: err − e*, or only what lies above 0.")
    step_size: float = Field(
        default=0.0, ge=0.0, description="η of λ, in dollars an hour and squared unit of error rate an episode; 0: no constraint."
    )
    first_target: float = Field(default=0.06, gt=0.0, lt=1.0, description="e* of the first hour.")
    last_target: float = Field(default=0.06, gt=0.0, lt=1.0, description="e* in the end; at most the first.")
    target_episodes: int = Field(default=600, ge=0, description="Hours over which e* tightens.")
    replay: Literal["uniform", "novelty"] = Field(default="uniform", description="Draw steps uniformly, or by |error| · novelty.")
    weighting: Literal["none", "novelty", "importance"] = Field(default="none", description="Weights of the critics' loss.")
    novelty: Literal["none", "random", "neighbours"] = Field(
        default="none", description="none: 1 everywhere; random: the control; neighbours: distance to the nearest of the states before."
    )
    end: Literal["truncated", "terminated"] = Field(
        default="truncated", description="Whether the value goes on behind the end of the hour (truncated), or is cut there."
    )
    averaging: float = Field(
        default=1.0,
        ge=0.0,
        description="p of the judged policy: a mean of the actor's weights over all updates, in which update t weighs as t to the power p; larger is younger.",
    )
    evaluation_hours: int = Field(default=4, ge=1, description="Hours whose states an evaluation asks the policy about.")
    evaluate_every: int = Field(default=30, ge=1, description="Hours between two evaluations; the last hour always has one.")
    sac: SACConfig = Field(default=SETTLED, description="Settings of soft actor-critic.")
