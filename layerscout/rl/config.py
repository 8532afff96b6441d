"""The settings of the stage that trains: frozen, closed to unknown keys, and readable without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

import layerscout
from layerscout.cache.records import Selection
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, PPOConfig, RidgeConfig, SACConfig
from layerscout.rl.economics.config import LabourConfig
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.folder import WEIGHTS
from layerscout.rl.transfer.pvdr.config import PvdrConfig
from layerscout.settings import Config, Flag, Positional

KEY_NAME = "settings.key"  # in a group's folder: the key that its results belong to
# where and how fast, never what comes out
RUN_ONLY = frozenset(
    {"out", "root", "selection", "threads", "checkpoint_updates", "most_kept", "tensorboard", "trackio", "wandb", "videos", "trust"}
)


class TrainConfig(Config):
    """One comparison: the arms of a selection, each with ``seeds`` runs, under one budget.

    Mode offline learns from the store alone for ``updates`` updates; online plays ``steps`` environment steps a run
    with the frozen layer before the head; in-loop trains adapters on both sides of one frozen block. ``heads`` is a
    declared factor: each arm is trained once with each. Evaluation is by greedy episodes: seed r plays block r of them, the same in every arm.
    """

    environment: Annotated[str, Positional("ENVIRONMENT")] = Field(description="The environment that the dataset came from.")
    selection: Path = Field(
        default=Path("outputs/probe/selection.json"),
        description="selection.json of layerscout probe; pvdr reads none, work only where it is given.",
    )
    out: Path = Field(default=Path("outputs/train"), description="Where the results go.")
    root: Path | None = Field(default=None, description="Folder of all stores; left out: LAYERSCOUT_ROOT, or the user's cache.")
    mode: Literal["offline", "online", "in-loop"] = Field(
        default="offline", description="Learn from the store, while playing, or while playing with one frozen block between two adapters."
    )
    algorithm: Literal["auto", "dqn", "sac", "iql", "ppo", "ridge", "dreamer", "pvdr"] = Field(
        default="auto",
        description="auto: offline, iql where the data hold an expert or continuous actions, else dqn; otherwise dqn for discrete actions, sac for continuous. dreamer learns a world model from the frames, on what was pretrained or from scratch.",
    )
    seeds: int = Field(default=10, ge=1, description="Runs an arm.")
    all_layers: bool = Field(
        default=False, description="Every layer of every ranked store takes part, for the correlation of score and return."
    )
    heads: Annotated[tuple[Literal["linear", "mlp"], ...], Flag("--head")] = Field(
        default=("mlp",), min_length=1, description="Kinds of heads to compare."
    )
    standardise: bool = Field(
        default=True, description="Bring each feature to mean 0 and standard deviation 1 over the dataset before the head sees it."
    )
    pixels: bool = Field(default=True, description="Keep the raw pixels that the selection holds as a control.")
    whiten: bool = Field(
        default=False,
        description="Also decorrelate the standardised features, so that their small directions are learned as fast as the large ones.",
    )
    scratch: bool = Field(default=True, description="Add a network trained from scratch on the raw pixels.")
    scratch_hidden: tuple[int, ...] = Field(default=(256, 64), description="Widths of that network's hidden layers.")
    cnn: bool = Field(default=False, description="Add a small convolutional network trained from scratch on the clips' own pixels.")
    closed_form: bool = Field(
        default=False, description="Beside every agent on frozen features one in closed form, of seconds and without updates (offline)."
    )
    random_layers: int = Field(default=0, ge=0, description="Add so many random frozen layers of the best layer's width.")
    updates: int = Field(default=5_000, ge=1, description="Updates of one run (offline).")
    steps: int = Field(default=20_000, ge=1, description="Environment steps of one run (online and in-loop).")
    evaluations: int = Field(default=4, ge=1, description="How often the agents are evaluated; the last time is the final one.")
    evaluation_episodes: int = Field(default=10, ge=1, description="Episodes of an evaluation on the way.")
    final_episodes: int = Field(default=50, ge=1, description="Episodes of the final evaluation.")
    evaluate_at: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description="Evaluate after so many updates (steps, where agents play) and at the end, final_episodes each time: returns at several budgets.",
    )
    checkpoint_updates: int = Field(default=500, ge=1, description="Updates (offline) or steps between two checkpoints.")
    most_kept: int = Field(
        default=256,
        ge=0,
        description="Megabytes of what a group of runs knows at the end, with its replay where it played: more updates or steps go on from it. Larger ones are not kept.",
    )
    adapter_in: Literal["patch", "linear", "conv"] = Field(
        default="patch", description="The adapter before the frozen block: frames to the block's tokens (in-loop)."
    )
    adapter_out: Literal["grid", "attention"] = Field(
        default="grid", description="How the adapter after the frozen block reduces its tokens (in-loop)."
    )
    in_loop_grid: int = Field(
        default=4, ge=0, description="Cells a side to which the block's tokens are averaged before the head; 0 is one mean (in-loop)."
    )
    dqn: DQNConfig = Field(default_factory=DQNConfig, description="Settings of double deep Q-learning.")
    sac: SACConfig = Field(default_factory=SACConfig, description="Settings of soft actor-critic.")
    iql: IQLConfig = Field(default_factory=IQLConfig, description="Settings of implicit Q-learning.")
    ppo: PPOConfig = Field(default_factory=PPOConfig, description="Settings of proximal policy optimisation.")
    ridge: RidgeConfig = Field(default_factory=RidgeConfig, description="Settings of the agent in closed form.")
    dreamer: DreamerConfig = Field(
        default_factory=DreamerConfig, description="Settings of DreamerV2, from scratch or on a pretrained model (APV)."
    )
    pvdr: PvdrConfig = Field(default_factory=PvdrConfig, description="Settings of planning towards a goal's picture.")
    work: LabourConfig | None = Field(default=None, description="Settings of agents that earn a wage in a labour world.")
    best_possible: float | None = Field(
        default=None, description="The return of an optimal policy, where it is known: for the optimality gap."
    )
    tensorboard: bool = Field(default=False, description="Also write TensorBoard's event files.")
    trackio: bool = Field(default=False, description="Also feed Trackio, whose files lie on this machine.")
    wandb: Literal["off", "offline", "online"] = Field(
        default="off", description="Also feed Weights & Biases; offline keeps its files beside the results."
    )
    trust: bool = Field(
        default=False,
        description="Of a store that was made elsewhere: fetch the checkpoint that it names, and use the environment options that it tells.",
    )
    videos: int = Field(default=0, ge=0, description="Films of the final policy, of so many seeds of every arm.")
    device: str = Field(default="cpu", description="cpu, cuda or cuda:0.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; left out: as many as this process may use.")

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        if self.whiten and not self.standardise:
            raise ValueError("whiten decorrelates standardised features: leave standardise on")
        if any(at > self.length for at in self.evaluate_at):
            raise ValueError(f"evaluate_at {max(self.evaluate_at)} lies beyond the end of a run, {self.length}")
        return self

    @property
    def unit(self) -> Literal["updates", "steps"]:
        """What a run's length is counted in, and the setting that says it: updates offline, environment steps where agents play."""
        return "updates" if self.mode == "offline" else "steps"

    @property
    def length(self) -> int:
        """How many updates or steps one run takes."""
        return self.updates if self.mode == "offline" else self.steps

    def lasting(self, length: int) -> TrainConfig:
        """Return the same settings with runs of another length."""
        return self.model_copy(update={self.unit: length})


def comparison_key(config: TrainConfig, selection: Selection) -> str:
    """Return the digest of everything that decides a comparison's numbers: settings, selection, version; places and speed are left out."""
    unused = {
        "pvdr",
        *(name for name in ("ppo", "dreamer") if config.algorithm != name),
        *(() if config.work is not None else ("work",)),
    }  # results of before there were these learners keep their key
    left_out: dict[str, Any] = dict.fromkeys([*RUN_ONLY, *unused], True)
    pretrained = config.dreamer.pretrained if config.algorithm == "dreamer" else None
    weights = {} if pretrained is None else {"pretrained": _digest(pretrained / WEIGHTS)}  # what is in the folder, wherever it lies
    document = {
        "config": json.loads(config.model_dump_json(exclude={"dreamer": {"pretrained"}} | left_out)),
        **weights,
        "selection": selection.model_dump_json(),
        "version": layerscout.__version__,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
