"""The settings of an experiment with labour: frozen, closed to unknown keys, readable without torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from layerscout.rl.agents.configs import SACConfig
from layerscout.settings import Config

SETTLED = SACConfig(
    gamma=0.9, lr=1e-3, batch=256, tau=0.01, hidden=(32, 32), init_temperature=0.1, target_entropy=-5.0, warm_up=600, train_interval=2
)


class EncoderConfig(Config):
    """What stands between an hour of work and an agent: all but ``state`` end in 128 numbers and a layer normalisation."""

    kind: Literal["state", "mlp", "store", "video"] = Field(
        default="state",
        description="state: the agent sees the state's four numbers; mlp: through a trained network; store: a frozen layer of a committed store sees the pictures; video: the same model, fine-tuned after a while.",
    )
    store: str | None = Field(default=None, description="Id or name of a store that was extracted from this environment (store, video).")
    layer: str | None = Field(default=None, description="The array of that store; pixels: the picture itself, coarsely.")
    hidden: tuple[int, ...] | None = Field(
        default=None, description="Widths before the last layer; left out: 256 and 256 of a state, none of a video layer."
    )
    lr: float | None = Field(default=None, gt=0.0, description="Step size of Adam; left out: the agent's.")
    consistency: float = Field(default=0.0, ge=0.0, description="Weight of the squared error of foretelling the next latent.")
    contrastive: float = Field(default=0.0, ge=0.0, description="Weight of recognising the next latent among those of the batch.")
    recorded: bool = Field(default=False, description="Begin with the store's own hours in the replay (store).")
    tune_after: int | None = Field(default=None, ge=0, description="Hours after which the video model is trained too (video).")
    tune_lr: float = Field(default=1e-5, gt=0.0, description="Step size of the video model.")

    @model_validator(mode="after")
    def _fits_together(self) -> EncoderConfig:
        of_store = self.kind in ("store", "video")
        if of_store and (self.store is None or self.layer is None):
            raise ValueError(f"encoder '{self.kind}' needs a store and a layer")
        if not of_store and (self.store or self.layer):
            raise ValueError(f"encoder '{self.kind}' looks at no store: leave store and layer out, or say kind = 'store'")
        if self.kind == "state" and (self.consistency or self.contrastive or self.hidden):
            raise ValueError("encoder 'state' has nothing to train: say kind = 'mlp'")
        if self.kind != "video" and self.tune_after is not None:
            raise ValueError(
                f"encoder '{self.kind}' has no video model to tune: precomputed activations stay as they are; say kind = 'video'"
            )
        if self.kind == "video" and self.tune_after is None:
            raise ValueError("encoder 'video' needs tune_after: the hours in which the model stays frozen")
        if self.recorded and self.kind != "store":
            raise ValueError("recorded hours come from a store: say kind = 'store'")
        return self


class WorkConfig(Config):
    """An agent at work: prices, the form of its reward, how errors are held, how its replay draws; equal for all runs."""

    environment: Literal["layerscout/Dishwashing-v0", "layerscout/Bricklaying-v0"] = Field(
        default="layerscout/Dishwashing-v0", description="The trade."
    )
    episodes: int = Field(default=250, ge=1, description="Hours that a run works.")
    price: float | None = Field(default=None, gt=0.0, description="Dollars a good unit; left out: the trade's own.")
    damage: float | None = Field(default=None, ge=0.0, description="Dollars an error; left out: the trade's own.")
    energy: float | None = Field(default=None, ge=0.0, description="Dollars an hour; left out: the trade's own.")
    human_wage: float | None = Field(default=None, gt=0.0, description="Dollars an hour of a person; left out: the trade's own.")
    reward: Literal["step", "cumulative"] = Field(
        default="step", description="What a minute earned, or the profit of the hour until it: both in dollars an hour."
    )
    reward_scale: float = Field(default=0.1, gt=0.0, description="Factor of the reward for the learner.")
    centred: bool = Field(default=False, description="Take the mean of all stored rewards off, once an hour: steadier and slower.")
    actions: Literal["middle", "zero", "one"] = Field(
        default="middle",
        description="Where critics count speed and care from. middle: from -1 to 1; zero: from 0 to 1, which makes much of both their first guess; one: from 1 to 0, its control.",
    )
    last_entropy: float | None = Field(
        default=None,
        description="Entropy of one action that the temperature aims at in the last hour, in nats: broad play first, which tells one action from another, and then the action itself; left out: sac.target_entropy all along.",
    )
    entropy_after: int = Field(default=0, ge=0, description="Hours after which that aim begins to move, on a line to the last hour.")
    penalty: Literal["linear", "hinge"] = Field(default="linear", description="Of λ: err − e*, or only what lies above 0.")
    step_size: float = Field(
        default=0.0, ge=0.0, description="η of λ, in dollars an hour and squared unit of error rate an episode; 0: no constraint."
    )
    first_target: float = Field(default=0.06, gt=0.0, lt=1.0, description="e* of the first hour.")
    last_target: float = Field(default=0.06, gt=0.0, lt=1.0, description="e* in the end; at most the first.")
    target_episodes: int = Field(default=600, ge=0, description="Hours over which e* tightens.")
    replay: Literal["uniform", "novelty"] = Field(default="uniform", description="Draw steps uniformly, or by |error| · novelty.")
    weighting: Literal["none", "novelty", "importance"] = Field(default="none", description="Weights of the critics' loss.")
    novelty: Literal["none", "random", "neighbours", "ensemble", "denoising"] = Field(
        default="none",
        description="none: 1 everywhere; random: the control; neighbours: distance to the nearest of the latents before; ensemble: how far five networks disagree on what comes next; denoising: how badly a video diffusion model predicts the picture.",
    )
    denoiser: str = Field(default="tiny", description="The video diffusion model of the novelty 'denoising': NAME or NAME:SOURCE.")
    end: Literal["truncated", "terminated"] = Field(
        default="truncated", description="Whether the value goes on behind the end of the hour (truncated), or is cut there."
    )
    averaging: float = Field(
        default=1.0,
        ge=0.0,
        description="p of the judged policy: a mean of the actor's weights over all updates, in which update t weighs as t to the power p; larger is younger.",
    )
    averaging_after: int = Field(
        default=30, ge=0, description="Hours after which that mean begins; until then the policy is judged as it plays."
    )
    evaluation_hours: int = Field(default=4, ge=1, description="Hours whose states an evaluation asks the policy about.")
    evaluate_every: int = Field(default=30, ge=1, description="Hours between two evaluations; the last hour always has one.")
    encoder: EncoderConfig = Field(default_factory=EncoderConfig, description="What the agent sees.")
    sac: SACConfig = Field(default=SETTLED, description="Settings of soft actor-critic.")


class LabourConfig(WorkConfig):
    """An experiment with labour: one base of settings, and the arms that differ from it."""

    arms: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Name → settings in which that arm differs; none: one arm, or those of a selection."
    )
    sweep: dict[Literal["price", "damage", "human_wage"], tuple[Annotated[float, Field(ge=0.0)], ...]] = Field(
        default_factory=dict, description="Dollars at which an arm each is trained anew, for the elasticity curves."
    )
