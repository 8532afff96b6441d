"""How far a folder of agents is, read from its files: begun, done, stale, and what is left of what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerscout.cache import records
from layerscout.cache.records import RunRecord, Selection
from layerscout.cache.records.goals import GOALS_NAME
from layerscout.cache.records.making import COMMAND_NAME
from layerscout.cache.records.transfer import TRANSFER_NAME, TransferRecord
from layerscout.cache.records.work import WORK_NAME, WageHour, WorkArm, WorkJudgement, WorkRecord
from layerscout.commands.study.agents import agents_standing, is_agents
from layerscout.commands.study.alone import alone_standings
from layerscout.commands.study.standing import CONTINUES
from layerscout.rl.config import KEY_NAME, TrainConfig, comparison_key
from layerscout.rl.transfer.config import TransferConfig

SELECTION = Selection(ranking="ranking.json", store_id="ls1-" + "0" * 32, dataset_digest="sha256:00", backbone="any", choices=())
COMMAND = "layerscout train any"


def folder(tmp_path: Path, **said) -> tuple[Path, TrainConfig]:
    """A folder that ``train`` has begun to write, with its selection beside it."""
    selection, place = tmp_path / "selection.json", tmp_path / "train"
    place.mkdir(parents=True)
    if said.pop("selected", True):
        records.save(SELECTION, selection)
    config = TrainConfig.model_validate({"environment": "any", "selection": selection, "out": place, "seeds": 2} | said)
    records.save_settings(config, place / "settings.json")
    (place / COMMAND_NAME).write_text(COMMAND + "\n")
    return place, config


def group(place: Path, name: str, key: str, finished: bool = True) -> None:
    (place / name).mkdir()
    (place / name / KEY_NAME).write_text(key)
    if finished:
        (place / name / "result.json").write_text("{}")


def finish(place: Path, arms: int = 2, seeds: int = 2, failed: int = 0) -> None:
    budget = {"environment_steps": 0, "updates": 1, "trainable_parameters": 0, "flops": 0.0}
    budget |= {"backbone_clips": 0, "wall_seconds": 0.0, "cpu_seconds": 0.0}
    kind = {"kind": "ranked", "layer": "x", "store_id": None, "head": "mlp", "score": None, "width": 1, "budget": budget}
    runs = [
        {"arm": f"arm {arm}", "seed": seed, "returns": (), "evaluations": (), "final": 0.0} for arm in range(arms) for seed in range(seeds)
    ]
    for number, run in enumerate(runs):
        run |= {"status": "failed" if number < failed else "done"}
    values = {"environment": "any", "mode": "offline", "selection": None, "random_policy_return": None}
    record = values | {"arms": [{"name": f"arm {arm}"} | kind for arm in range(arms)], "runs": runs}
    records.save(RunRecord.model_validate(record), place / "runs.json")


def test_a_comparison_that_has_finished_is_done_with_its_counts(tmp_path):
    place, config = folder(tmp_path)
    group(place, "mlp-64", comparison_key(config, SELECTION))
    finish(place, failed=1)
    standing = agents_standing(place)
    assert (standing.state, standing.what, standing.why) == ("done", "offline: 2 arms, 4 runs, 1 failed", "")


def test_a_comparison_without_results_has_begun_and_says_how_much_of_it(tmp_path):
    place, config = folder(tmp_path)
    group(place, "mlp-64", comparison_key(config, SELECTION))
    group(place, "mlp-256", comparison_key(config, SELECTION), finished=False)
    standing = agents_standing(place)
    assert (standing.state, standing.what, standing.why) == ("begun", "offline: 1 groups finished", f"1 begun, {CONTINUES}")


@pytest.mark.parametrize(("seeds", "runs", "state"), [(2, 2, "done"), (3, 2, "begun"), (1, 2, "done")])
def test_more_seeds_than_there_are_runs_are_still_to_come(tmp_path, seeds, runs, state):
    place, _ = folder(tmp_path, seeds=seeds)
    finish(place, seeds=runs)
    standing = agents_standing(place)
    assert standing.state == state
    if state == "begun":
        assert standing.why == f"3 seeds were asked for, {CONTINUES}"


def test_a_checkpoint_in_a_group_says_that_it_goes_on(tmp_path):
    place, config = folder(tmp_path)
    group(place, "mlp-64", comparison_key(config, SELECTION))
    finish(place)
    (place / "mlp-64" / "checkpoint-2-ab.npz").write_bytes(b"")
    assert agents_standing(place).why == f"a group is being gone on with, {CONTINUES}"


def test_agents_on_another_selection_are_stale_and_without_one_that_is_told(tmp_path):
    place, _ = folder(tmp_path)
    group(place, "mlp-64", "another key")
    finish(place)
    standing = agents_standing(place)
    assert (standing.state, standing.why) == ("stale", "the selection, or layerscout itself, is another one now")
    other, config = folder(tmp_path / "other", selected=False)
    group(other, "mlp-64", "another key")
    finish(other)
    assert (agents_standing(other).state, agents_standing(other).why) == ("done", f"its selection {config.selection} is not here")


@pytest.mark.parametrize(
    ("content", "why"),
    [('{"environment": "any", "sedes": 3}', "settings.json: "), ("{", "settings.json"), ("[]", "not an object of settings")],
)
def test_settings_that_make_no_sense_are_stale_and_stop_nothing(tmp_path, content, why):
    place, _ = folder(tmp_path)
    (place / "settings.json").write_text(content)
    standing = agents_standing(place)
    assert standing.state == "stale"
    assert why in standing.why


def test_results_that_are_damaged_are_stale(tmp_path):
    place, _ = folder(tmp_path)
    (place / "runs.json").write_text("{")
    assert agents_standing(place).state == "stale"


@pytest.mark.parametrize(("arms", "goals", "state"), [(2, True, "done"), (1, True, "begun"), (2, False, "begun")])
def test_agents_that_plan_need_no_selection_and_all_their_arms(tmp_path, arms, goals, state):
    place, _ = folder(tmp_path, algorithm="pvdr", mode="online", pvdr={"arms": ["pvdr", "cloning"]}, selected=False)
    finish(place, arms=arms)
    if goals:
        (place / GOALS_NAME).write_text("{}")
    standing = agents_standing(place)
    assert (standing.state, standing.alone) == (state, True)
    if not goals:
        assert standing.why == CONTINUES


def worked(place: Path, arms: int) -> None:
    hour = WageHour(speed=1.0, care=0.5, product=80.0, error=0.05, profit=20.0, wage=20.1, parity=1.1)
    judged = WorkJudgement(episode=1, profit=(20.0,), error=(0.05,), speed=(1.0,), care=(0.5,))
    arm = WorkArm(
        name="arm",
        settings={},
        environment="any",
        prices={},
        limit=None,
        swept=None,
        best=hour,
        hours=1,
        updates=1,
        clips=0,
        trainable_parameters=1,
        cpu_seconds=0.0,
        judgements=(judged,),
        blocks=(0,),
        curves=(),
        foretold=(None,),
        novel=(None,),
    )
    record = WorkRecord(
        environment="any", seeds=(0,), limit=0.06, feasible=1, profitable=1, needed=80.0, frontier=(), elasticity=(), arms=(arm,) * arms
    )
    records.save(record, place / WORK_NAME)


@pytest.mark.parametrize(
    ("work", "there", "state"),
    [
        ({}, 1, "done"),
        ({"arms": {"a": {}, "b": {}}}, 2, "done"),
        ({"arms": {"a": {}, "b": {}, "c": {}}}, 2, "begun"),
        ({"sweep": {"price": [0.1, 0.2]}}, 1, "begun"),  # the base is worked, the prices are not
        ({"sweep": {"price": [0.1, 0.2], "damage": [0.0]}}, 4, "done"),
        ({"arms": {"a": {}}, "sweep": {"damage": [0.0]}}, 1, "begun"),
    ],
)
def test_agents_at_work_are_done_when_every_arm_and_every_price_was_worked(tmp_path, work, there, state):
    place, _ = folder(tmp_path, work=work, selected=False)
    assert (agents_standing(place).state, agents_standing(place).what) == ("begun", "work: 0 arms finished")
    worked(place, there)
    standing = agents_standing(place)
    assert (standing.state, standing.alone) == (state, True)
    if state == "begun":
        assert standing.why == f"more were asked for, {CONTINUES}"
    else:
        (place / "arm").mkdir()
        (place / "arm" / "checkpoint.npz").write_bytes(b"")
        assert agents_standing(place).state == "begun", "an arm is being worked"


def test_a_folder_of_agents_has_settings_and_the_command_that_made_it(tmp_path):
    place, _ = folder(tmp_path)
    assert is_agents(place)
    assert agents_standing(place).command == COMMAND
    (place / COMMAND_NAME).write_text("layerscout probe x\n")
    assert not is_agents(place)
    (place / COMMAND_NAME).write_text(COMMAND + "\n")
    (place / "settings.json").unlink()
    assert not is_agents(place)


STUDENT = {
    "settings": {},
    "untrained": (0.0,),
    "scores": (),
    "sampled": (),
    "kept": (),
    "effective": (),
    "student_steps": (),
    "teacher_steps": (),
}


@pytest.mark.parametrize(
    ("said", "there", "state"),
    [
        ({"arms": ["baseline"]}, ["baseline"], "done"),
        ({"arms": ["baseline", "ks"]}, ["baseline", "ks"], "done"),
        ({"arms": ["baseline", "ks"]}, ["baseline"], "begun"),
        ({"arms": ["baseline", "ks"], "sweep": {"beta": [2.0, 3.0]}}, ["baseline", "ks"], "begun"),
        ({"arms": ["baseline", "ks"], "sweep": {"beta": [2.0, 3.0]}}, ["baseline", "ks", "ks", "ks"], "done"),
        ({"arms": ["ks"], "teachers": ["a.npz"]}, ["ks"], "begun"),  # one of its two teachers
    ],
)
def test_students_are_done_when_every_arm_with_every_teacher_and_value_was_trained(tmp_path, said, there, state):
    config = TransferConfig.model_validate({"environment": "any", "teacher_options": {}, "out": tmp_path} | said)
    records.save_settings(config, tmp_path / "settings.json")
    (tmp_path / COMMAND_NAME).write_text("layerscout transfer any\n")
    arms = [{"name": f"{kind} {number}", "kind": kind} | STUDENT for number, kind in enumerate(there)]
    record = {
        "environment": "any",
        "eyes": "the state",
        "width": 4,
        "seeds": 1,
        "iterations": 3,
        "unverified": (),
        "teachers": (),
        "arms": arms,
    }
    records.save(TransferRecord.model_validate(record), tmp_path / TRANSFER_NAME)
    found = {one.stage: one for one in alone_standings(tmp_path)}
    assert found["transfer"].state == state
    if state == "begun":
        assert found["transfer"].why == f"more arms were asked for, {CONTINUES}"
        assert "report" not in found


@pytest.mark.parametrize("arms", [["baseline"], ["ks", "baseline", "it"], ["repaint"]])
@pytest.mark.parametrize("teachers", [[], ["one.npz", "two.npz"]])
@pytest.mark.parametrize("sweep", [{}, {"beta": [2.0], "zeta": [0.5, 1.5]}])
def test_as_many_arms_are_asked_for_as_are_planned(arms, teachers, sweep):
    from layerscout.rl.transfer.plan import TRAINED, _arms

    config = TransferConfig.model_validate(
        {"environment": "any", "arms": arms, "teachers": teachers, "sweep": sweep, "teacher_options": {}, "target": 1.0}
    )
    assert len(_arms(config, [*teachers, TRAINED])) == config.arms_asked
