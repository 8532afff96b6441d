"""The settings of the stage that trains: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from layerscout.rl.agents.dqn import DQNConfig
from layerscout.rl.agents.iql import IQLConfig
from layerscout.rl.agents.sac import SACConfig
from layerscout.settings import Config


class TrainConfig(Config):
    """One comparison: the arms of a selection, each with ``seeds`` runs, under one budget.

    ``mode`` offline learns from the store alone for ``updates`` updates; online plays ``steps`` environment steps a run
    with the frozen layer before the head; in-loop trains adapters on both sides of one frozen block. ``heads`` is a
    declared factor: each arm is trained once with each. Evaluation is by greedy episodes with the same seeds for all runs.
    ``algorithm`` auto is dqn for discrete actions; for continuous ones sac, or iql when learning offline.
    """

    environment: str
    selection: Path
    out: Path = Path("outputs/train")
    root: Path | None = None
    mode: Literal["offline", "online", "in-loop"] = "offline"
    algorithm: Literal["auto", "dqn", "sac", "iql"] = "auto"
    seeds: int = Field(default=10, ge=1)
    all_layers: bool = False  # every layer of every store in the selection takes part, for the correlation of score and return
    heads: tuple[Literal["linear", "mlp"], ...] = Field(default=("mlp",), min_length=1)
    standardise: bool = True  # bring each feature to mean 0 and standard deviation 1 over the dataset before the head sees it
    scratch: bool = True  # add a network trained from scratch on the raw pixels
    scratch_hidden: tuple[int, ...] = (256, 64)
    cnn: bool = False  # add a small convolutional network trained from scratch on the clips' own pixels
    random_layers: int = Field(default=0, ge=0)  # add so many random frozen layers of the best layer's width
    updates: int = Field(default=5_000, ge=1)  # offline
    steps: int = Field(default=20_000, ge=1)  # online and in-loop: environment steps of one run
    evaluations: int = Field(default=4, ge=1)  # the last one is the final one
    evaluation_episodes: int = Field(default=10, ge=1)
    final_episodes: int = Field(default=50, ge=1)
    checkpoint_updates: int = Field(default=500, ge=1)  # updates (offline) or steps between two checkpoints
    adapter_in: Literal["patch", "linear", "conv"] = "patch"  # g of in-loop training: frames to the block's tokens
    adapter_out: Literal["grid", "attention"] = "grid"  # how h of in-loop training reduces the block's tokens before the head
    in_loop_grid: int = Field(default=4, ge=0)  # cells a side to which the block's tokens are averaged before the head; 0 = one mean
    dqn: DQNConfig = Field(default_factory=lambda: DQNConfig())
    sac: SACConfig = Field(default_factory=lambda: SACConfig())
    iql: IQLConfig = Field(default_factory=lambda: IQLConfig())
    best_possible: float | None = None  # the return of an optimal policy, where it is known: for the optimality gap
    tensorboard: bool = False  # also write TensorBoard's event files
    wandb: Literal["off", "offline", "online"] = "off"  # also feed Weights & Biases; offline keeps its files beside the results
    videos: int = Field(default=0, ge=0)  # films of the final policy, of so many seeds of every arm
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1)
