"""The settings of transfer from a teacher: frozen, closed to unknown keys, and readable without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

import layerscout
from layerscout.rl.agents.configs import PPOConfig
from layerscout.settings import Config, Flag, Positional

REACHER_PPO = PPOConfig(
    lr=1e-3, batch=250, epochs=6, length=50, environments=40, reward_scale=0.1, lowest_log_deviation=-3.0
)  # 2,000 steps an iteration, whole episodes
ArmName = Literal["baseline", "ks", "it", "repaint"]
ZetaUnit = Literal["upward", "deviation", "reward"]
FADING = {"repaint": 0.25}  # arm → share of the iterations after which the teacher's steps count nothing; others: never
SWEPT = ("beta", "beta_decay", "zeta", "alpha2", "alpha2_decay")
# where and how fast, or which arms there are: never what an arm's numbers are
BESIDE = frozenset({"out", "root", "arms", "sweep", "stricter", "target", "trust", "threads", "device"})


class ArmSettings(Config):
    """What students learn from, and how; equal for all arms of a comparison. Schedules are in shares of the iterations."""

    iterations: int = Field(default=60, ge=1, description="Rollouts that a student plays and learns from.")
    seeds: int = Field(default=8, ge=1, description="Runs an arm.")
    beta: float = Field(default=1.0, ge=0.0, description="First weight of the cross-entropy from teacher to student.")
    beta_decay: float = Field(default=0.4, gt=0.0, description="Share of the iterations after which that weight is 0; it falls linearly.")
    alpha1: float = Field(default=1.0, gt=0.0, description="Weight of what is learned from the student's own steps.")
    alpha2: float = Field(default=1.0, ge=0.0, description="First weight of what is learned from the teacher's steps.")
    alpha2_decay: float | None = Field(
        default=None,
        gt=0.0,
        description="Share of the iterations after which that weight is 0, and the teacher plays no longer; left out: a quarter for repaint, never for it.",
    )
    zeta: float = Field(default=1.0, description="Smallest advantage of a teacher's step that is kept, in units of zeta_unit.")
    zeta_unit: ZetaUnit = Field(
        default="upward",
        description="What zeta counts: upward deviations above the median advantage (upward), standard deviations above the mean (deviation), or "
        "the advantage itself, in scaled reward, as in the paper (reward).",
    )
    denominator: Literal["old", "teacher"] = Field(
        default="old", description="What the student's probability of a teacher's action is divided by: its own before, or the teacher's."
    )
    largest_ratio: float = Field(default=10.0, gt=1.0, description="Bound of that ratio.")
    instances: int = Field(default=128, ge=1, description="Kept steps of the teacher in one update.")
    alternating: bool = Field(default=False, description="Draw to the teacher and learn from its steps in turns, iteration by iteration.")
    evaluation_episodes: int = Field(
        default=64, ge=1, description="Greedy episodes after every iteration, the same for all arms and seeds."
    )
    ppo: PPOConfig = Field(default=REACHER_PPO, description="Settings of the students.")


class RepaintConfig(ArmSettings):
    """Settings of one arm; equal for all its seeds."""

    arm: ArmName = Field(default="repaint", description="No teacher, kickstarting alone, instances alone, or both.")

    @property
    def kicks(self) -> bool:
        """Whether the student is drawn towards the teacher in its own states."""
        return self.arm in {"ks", "repaint"}

    @property
    def instructs(self) -> bool:
        """Whether the teacher plays and the student learns from its steps."""
        return self.arm in {"it", "repaint"}

    def beta_at(self, iteration: int) -> float:
        """Weight of the cross-entropy at an iteration, which count from 0; in the alternating form at even ones only."""
        turn = not (self.alternating and self.arm == "repaint") or iteration % 2 == 0
        return self.beta * faded(iteration, self.beta_decay * self.iterations) if self.kicks and turn else 0.0

    def alpha2_at(self, iteration: int) -> float:
        """Weight of the teacher's steps at an iteration; in the alternating form at odd ones only."""
        turn = not (self.alternating and self.arm == "repaint") or iteration % 2 == 1
        decay = FADING.get(self.arm) if self.alpha2_decay is None else self.alpha2_decay
        share = 1.0 if decay is None else faded(iteration, decay * self.iterations)
        return self.alpha2 * share if self.instructs and turn else 0.0


class Sweep(Config):
    """Further values of single settings; each is one more arm of the last kind that learns from a teacher."""

    beta: tuple[float, ...] = Field(default=(), description="Values of beta.")
    beta_decay: tuple[float, ...] = Field(default=(), description="Values of beta_decay.")
    zeta: tuple[float, ...] = Field(default=(), description="Values of zeta.")
    alpha2: tuple[float, ...] = Field(default=(), description="Values of alpha2.")
    alpha2_decay: tuple[float, ...] = Field(default=(), description="Values of alpha2_decay.")


class TransferConfig(ArmSettings):
    """One comparison of ways to learn from teachers: the same students without one, kickstarted, taught by instances, and both.

    Students see the state of the environment, or what one layer of a video model makes of its pictures. A teacher is a file, or is trained first,
    with other options or in another environment.
    """

    environment: Annotated[str, Positional("ENVIRONMENT")] = Field(description="Where students play.")
    teachers: Annotated[tuple[Path, ...], Flag("--teacher")] = Field(
        default=(), description="Files of teachers: saved by transfer, or a PPO or SAC of Stable-Baselines3."
    )
    out: Path = Field(default=Path("outputs/transfer"), description="Where the results go.")
    root: Path | None = Field(default=None, description="Folder of all stores; left out: LAYERSCOUT_ROOT, or the user's cache.")
    method: Literal["repaint"] = Field(default="repaint", description="How is learned from a teacher.")
    arms: Annotated[tuple[ArmName, ...], Flag("--arm")] = Field(
        default=("baseline", "ks", "it", "repaint"), min_length=1, description="Ways to learn that are compared."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the environment in which students play.")
    teacher_environment: str | None = Field(
        default=None, description="Train a teacher in this environment first; left out with teacher_options: in the students' own."
    )
    teacher_options: dict[str, Any] | None = Field(default=None, description="Train a teacher first, in an environment with these options.")
    teacher_iterations: int = Field(default=60, ge=1, description="Rollouts from which that teacher learns.")
    teacher_activation: Literal["tanh", "relu"] | None = Field(
        default=None, description="Of a file of Stable-Baselines3; left out: tanh for PPO, relu for SAC."
    )
    store: str | None = Field(default=None, description="A store of the environment: students see one of its layers in place of the state.")
    layer: str | None = Field(default=None, description="That layer.")
    teacher_sees: Literal["same", "state"] = Field(
        default="same", description="What teachers see where students see a layer: the same, or the state."
    )
    target: float | None = Field(default=None, description="The score that is to be reached; left out: the baseline's best.")
    stricter: tuple[float, ...] = Field(default=(), description="Further scores that are to be reached.")
    sweep: Sweep = Field(default_factory=Sweep, description="Further values of single settings, each one more arm.")
    trust: bool = Field(default=False, description="Of a store that was made elsewhere: fetch the checkpoint that it names.")
    device: str = Field(
        default="cpu", description="Where the video model runs: cpu, cuda or cuda:0; students are small and learn on the CPU."
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; left out: as many as this process may use.")

    @model_validator(mode="after")
    def _fits_together(self) -> TransferConfig:
        if (self.store is None) != (self.layer is None):
            raise ValueError("store and layer go together: what students see is one layer of one store")
        if self.teacher_sees == "state" and self.layer is None:
            raise ValueError("teacher_sees is for students that see a layer; these see the state already")
        if self.iterations < 3 and self.target is None:
            raise ValueError("a best score is the mean of 3 evaluations: iterations must be at least 3")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("an arm is named twice")
        return self

    @property
    def trains_a_teacher(self) -> bool:
        """True where the teacher's environment or options are given; else teachers come from elsewhere."""
        return self.teacher_options is not None or self.teacher_environment is not None

    def arm(self, kind: ArmName, **changes: Any) -> RepaintConfig:
        """The settings that all arms share, for this kind of arm, with ``changes`` made to them."""
        return RepaintConfig(arm=kind, **{name: getattr(self, name) for name in ArmSettings.model_fields} | changes)

    @property
    def swept(self) -> tuple[tuple[str, float], ...]:
        """Names and values of all further settings."""
        return tuple((name, value) for name in SWEPT for value in getattr(self.sweep, name))

    @property
    def arms_asked(self) -> int:
        """How many arms these settings ask for: the baseline once, every other with every teacher, and the swept ones."""
        learning, teachers = len(set(self.arms) - {"baseline"}), len(self.teachers) + self.trains_a_teacher
        return ("baseline" in self.arms) + teachers * (learning + (len(self.swept) if learning else 0))


def transfer_key(config: TransferConfig, files: tuple[str, ...]) -> str:
    """Return the digest of everything that decides an arm's numbers: settings, teachers' files (their digests), version; places are left out."""
    document = {
        "config": json.loads(config.model_dump_json(exclude={*BESIDE, "teachers"})),
        "teachers": files,
        "version": layerscout.__version__,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def faded(iteration: int, until: float) -> float:
    """Return a weight that falls linearly from 1 at iteration 0 to 0 at iteration ``until``, and stays there."""
    return max(0.0, 1.0 - iteration / until)
