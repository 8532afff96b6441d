"""TrainConfig with ``algorithm = "pvdr"`` in, a RunRecord and a GoalRecord out: arms that go to goal pictures, every seed, one budget of steps."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import layerscout
from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Arm, Budget, Run, RunRecord
from layerscout.cache.records.goals import FILM_NAME, GOAL_ARMS, GOALS_NAME, SHEET_NAME, GoalAlignment, GoalRecord
from layerscout.cache.records.making import save_command
from layerscout.cache.records.sealing import seal
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.networks.pvdr.pvdr import read_networks, weights_digest
from layerscout.extract.backbones.pvdr import DESCRIPTION, PvdrShape, read_shape
from layerscout.extract.device import cores, torch_threads
from layerscout.progress import SILENT, Reporter, Task
from layerscout.report import tables
from layerscout.rl.config import RUN_ONLY, TrainConfig
from layerscout.rl.kinds import require_same_kind
from layerscout.rl.loops.checkpoint import load_checkpoint
from layerscout.rl.loops.learning import evaluation_points, final_mean
from layerscout.rl.references import reference_returns
from layerscout.rl.seeing.filming import gif_of, png_of
from layerscout.rl.seeing.planned import FRAMES_PER_SECOND, contact_sheet, film, played_for_show
from layerscout.rl.transfer.pvdr.action_fit import action_fit
from layerscout.rl.transfer.pvdr.arms import GoalCurve, GoalRun, new_learner, train_goal_run
from layerscout.rl.transfer.pvdr.config import ArmName
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.showing import ShownPlan
from layerscout.worlds.core import GoalWorld
from layerscout.worlds.pixels import is_light, make_world, side_by_side

RUNS_NAME, KEY_NAME = "runs.json", "pvdr.key"


@dataclass(frozen=True)
class GoalTrainPlan(ShownPlan):
    """What a comparison of arms that are shown a goal will do."""

    config: TrainConfig
    shape: PvdrShape
    options: dict[str, Any]
    weights: str  # digest of the model's
    key: str

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Arms, runs, budget and what exists already, for ``--dry-run``."""
        config = self.config
        return {
            "mode": "online",
            "algorithm": "pvdr",
            "model": str(config.pvdr.model),
            "frames_of_a_clip": self.shape.window,
            "environment_options": self.options,
            "arms": list(config.pvdr.arms),
            "seeds": config.seeds,
            "runs": len(config.pvdr.arms) * config.seeds,
            "environment_steps": config.steps,
            "out": str(config.out),
            "exists": (config.out / RUNS_NAME).exists(),
        }

    def make_world(self, copies: int) -> GoalWorld:
        """Return so many copies of the game, with frames of the model's size."""
        return make_world(self.config.environment, copies, self.shape.size, self.options)  # type: ignore[return-value]


def plan(config: TrainConfig) -> GoalTrainPlan:
    """Read the model's description and look at the world; trains nothing.

    Raises
    ------
    UsageError
        The world shows no goals, its actions are choices, the settings say another mode than online, or ``out`` holds another kind of training.
    DataError
        The folder holds no model, goals are pictures of another size than frames, or ``out`` holds results of other settings.
    """
    if config.mode != "online":
        raise UsageError(f"pvdr learns while it plays, and mode is {config.mode}", hint="--mode online")
    require_same_kind(config)
    shape = read_shape(config.pvdr.model)
    told = _described(config)
    options = told.get("options", {}) if told.get("environment") == config.environment else {}
    weights = weights_digest(config.pvdr.model)
    planned = GoalTrainPlan(config, shape, options, weights, _key(config, options, weights))
    with closing(planned.make_world(1)) as world:
        require_goals(world, config.environment)
    key = config.out / KEY_NAME
    if (config.out / RUNS_NAME).exists() and (not key.is_file() or key.read_text(encoding="utf-8") != planned.key):
        raise DataError(f"{config.out} holds agents of other settings", hint="use the same settings, or another --out")
    return planned


def require_goals(world: GoalWorld, name: str) -> None:
    """Refuse a world without goal pictures, with goals of another shape than its frames, or with actions to choose among."""
    if not hasattr(world, "goals"):
        raise UsageError(f"{name} shows no goals, and pvdr plans towards a picture", hint=f"a world with goals: {_with_goals(name)}")
    if not world.action_dimensions:
        raise UsageError(f"{name} takes one of {world.action_count} actions, and the alignment gives vectors", hint="layerscout/Dot-v0")
    world.reset(np.array([0]), np.array([0]))
    goal, frame = world.goals().shape[1:], world.frames().shape[1:]
    if goal != frame:
        raise DataError(f"{name} shows goals of {goal} and frames of {frame}", hint="a world's goals have the shape of its frames")


def _with_goals(name: str) -> str:
    """Return what shows goals: the same world recorded with the option for it, where it has one."""
    if name.startswith(("dm_control/point_mass-", "metaworld/")):
        return f"pretrain on layerscout collect {name} --set collect.options.goal=picture --size 32, and agents see them too"
    return "layerscout/Dot-v0"


def run(planned: GoalTrainPlan, reporter: Reporter = SILENT) -> RunRecord:
    """Train every run that is not finished, then write runs.json, goals.json, the tables and the plans; the same command continues after a kill."""
    config = planned.config
    config.out.mkdir(parents=True, exist_ok=True)
    records.save_settings(config, config.out / "settings.json")
    save_command("train", config, config.out)
    write_atomic(config.out / KEY_NAME, planned.key.encode())
    arms, runs, fits = list[Arm](), list[Run](), list[GoalAlignment]()
    total = config.steps * config.seeds * len(config.pvdr.arms)
    with torch_threads(cores(config.threads)), reporter.task("train pvdr (online)", total, "steps") as task:
        for name in config.pvdr.arms:
            done = [_run(planned, name, seed, task) for seed in range(config.seeds)]
            arms.append(_arm(planned, name, done))
            runs += [_record_of(name, seed, one) for seed, one in enumerate(done)]
            fits += [GoalAlignment(arm=GOAL_ARMS[name], seed=seed, **one["fit"]) for seed, one in enumerate(done) if one.get("fit")]
    references = reference_returns(
        planned.make_world,
        None,
        config.seeds,
        config.final_episodes,
        side_by_side=side_by_side(config.environment),
        light=is_light(config.environment),
        best_possible=config.best_possible,
    )
    record = RunRecord(
        environment=config.environment,
        mode="online",
        selection=None,
        random_policy_return=next(one.mean for one in references if one.name == "random"),
        best_possible=config.best_possible,
        references=references,
        episodes_apart=True,
        algorithm="pvdr",
        algorithm_reason="train.algorithm says so",
        arms=tuple(arms),
        runs=tuple(runs),
    )
    records.save(record, config.out / RUNS_NAME)
    tables.write_experiment_tables(record, config.out)
    shown = _show(planned)
    goals = GoalRecord(environment=config.environment, model=_described(config), alignment=tuple(fits), shown=shown)
    records.save(goals, config.out / GOALS_NAME)
    if shown:
        reporter.say(f"plans beside what happened: {config.out / SHEET_NAME}, {FILM_NAME}")
    return record


def _described(config: TrainConfig) -> dict[str, Any]:
    return records.load_object(config.pvdr.model / DESCRIPTION)


def _show(planned: GoalTrainPlan) -> str | None:
    """Write what the first seed of the first arm that plans planned and saw; return the arm's name, None where no arm plans."""
    config = planned.config
    arm = next((name for name in config.pvdr.arms if name != "cloning"), None)
    state = None if arm is None else load_checkpoint(config.out / arm / "checkpoint-0.npz", planned.key)
    if arm is None or state is None:
        return None
    with closing(planned.make_world(1)) as world:
        dimensions = world.action_dimensions
    learner = new_learner(arm, config.pvdr, read_networks(config.pvdr.model, planned.shape, planned.weights), dimensions, 0)
    assert isinstance(learner, PvdrLearner)
    learner.load_state_dict(state["learner"])
    played = played_for_show(learner, planned.make_world)
    write_atomic(config.out / SHEET_NAME, png_of(contact_sheet(played)))
    write_atomic(config.out / FILM_NAME, gif_of(film(played), FRAMES_PER_SECOND))
    return GOAL_ARMS[arm]


def _run(planned: GoalTrainPlan, arm: ArmName, seed: int, task: Task) -> dict[str, Any]:
    """Return what came of one run: kept when it is finished, continued where it was killed, or played from the beginning."""
    config = planned.config
    folder = config.out / arm
    folder.mkdir(exist_ok=True)
    result, saved, told = folder / f"seed-{seed}.json", folder / f"checkpoint-{seed}.npz", 0
    if result.exists() and (there := records.load_object(result))["key"] == planned.key:
        task.resume(min(config.steps, there["curve"]["steps"]))
        return there

    def heard(steps: int) -> None:
        nonlocal told
        task.advance(min(steps, config.steps) - told)
        told = min(steps, config.steps)

    points = evaluation_points(config, config.steps)
    goal_run = GoalRun(arm, seed, planned.make_world, tuple(points), next(iter(points.values())), config.final_episodes)
    networks = read_networks(config.pvdr.model, planned.shape, planned.weights)
    learner, curve = train_goal_run(goal_run, config.pvdr, networks, saved, planned.key, heard)
    document = {
        "key": planned.key,
        "curve": asdict(curve),
        "updates": learner.updates,
        "flops": learner.flops,
        "parameters": learner.trained_parameters(),
        "fit": action_fit(learner, planned.make_world, seed)._asdict() if isinstance(learner, PvdrLearner) else None,
    }
    write_atomic(result, seal(f"{json.dumps(document, indent=1)}\n".encode()))
    return document


def _arm(planned: GoalTrainPlan, name: ArmName, done: list[dict[str, Any]]) -> Arm:
    first = done[0]
    cpu, wall = (round(sum(one["curve"][name] for one in done), 2) for name in ("cpu_seconds", "wall_seconds"))
    return Arm(
        name=GOAL_ARMS[name],
        kind=f"goal {name}",
        layer="z",
        store_id=None,
        head=f"mlp-{planned.config.pvdr.hidden}-{planned.config.pvdr.hidden}",
        score=None,
        width=planned.shape.z,
        budget=Budget(
            environment_steps=int(np.mean([one["curve"]["steps"] for one in done])),
            updates=int(first["updates"]),
            trainable_parameters=int(first["parameters"]),
            flops=float(first["flops"]),
            backbone_clips=0,
            wall_seconds=wall,
            cpu_seconds=cpu,
        ),
    )


def _record_of(name: ArmName, seed: int, done: dict[str, Any]) -> Run:
    curve = GoalCurve(**done["curve"])
    return Run(
        arm=GOAL_ARMS[name],
        seed=seed,
        returns=tuple(curve.returns),
        evaluations=tuple((int(at), tuple(values)) for at, values in curve.evaluations),
        final=final_mean(curve.returns),
        status="done",
    )


def _key(config: TrainConfig, options: dict[str, Any], weights: str) -> str:
    """Return the digest of everything that decides the numbers: settings of this learner, the model's weights, the world's options."""
    said = json.loads(
        config.model_dump_json(include={"environment", "seeds", "steps", "evaluations", "evaluation_episodes", "final_episodes"})
    )
    said |= {"evaluate_at": config.evaluate_at, "pvdr": json.loads(config.pvdr.model_dump_json(exclude={"model", "arms"}))}
    said |= {"weights": weights, "options": options, "version": layerscout.__version__}
    return hashlib.sha256(
        json.dumps({name: said[name] for name in said if name not in {*RUN_ONLY, "seeds"}}, sort_keys=True).encode()
    ).hexdigest()
