"""A task of a study stage by stage: what is done once, again or never, what ends it, and how its outcome is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from layerscout.cache.records import Run, RunRecord
from layerscout.commands.study import stages as running
from layerscout.commands.study.ledger import LEDGER_NAME, Ledger, stage_key
from layerscout.commands.study.processes import run_tasks
from layerscout.commands.study.stages import TaskOutcome, TaskStage, returns_in_words, run_task
from layerscout.commands.study.study import TasksFailed, flags_of
from layerscout.errors import DataError, LayerscoutError
from layerscout.worlds.config import CollectConfig


def test_a_key_is_of_all_settings_and_of_all_that_it_rests_on():
    config = CollectConfig(environment="any", steps=5)
    key = stage_key("", config)
    assert key == stage_key("", CollectConfig(environment="any", steps=5))
    assert len({key, stage_key("before", config), stage_key("", config.model_copy(update={"steps": 6}))}) == 3


class Tasks:
    """Three stages that note when they are worked at; one may fail, and any may have lost its output."""

    def __init__(self, folder: Path) -> None:
        self.settings = SimpleNamespace(name="one", folder=folder, keep_frames=True, needs_frames=False)
        self.worked: list[str] = []
        self.gone: set[str] = set()
        self.fails = ""
        self.steps = 5

    def stages(self, task) -> list[TaskStage]:
        def stage(name: str, steps: int) -> TaskStage:
            def work(reporter) -> str:
                self.worked.append(name)
                self.gone.discard(name)
                if self.fails == name:
                    raise DataError("no rows", hint="collect more")
                return f"{name} made"

            return TaskStage(name, CollectConfig(environment="any", steps=steps), lambda: name not in self.gone, work)

        return [stage("collect", self.steps), stage("extract tiny", 7), stage("probe", 8)]


@pytest.fixture
def tasks(tmp_path, monkeypatch) -> Tasks:
    found = Tasks(tmp_path / "one")
    monkeypatch.setattr(running, "stages_of", found.stages)
    monkeypatch.setattr(running, "save_settings", lambda task: None)
    return found


def test_a_task_is_done_stage_by_stage_and_nothing_twice(tasks):
    lines: list[str] = []
    assert run_task(tasks.settings, lines.append) == TaskOutcome("one", 3)
    assert tasks.worked == ["collect", "extract tiny", "probe"]
    assert [line.partition(" in ")[0] for line in lines] == ["one: collect", "one: extract tiny", "one: probe"]
    assert lines[2].endswith(": probe made")
    again: list[str] = []
    assert run_task(tasks.settings, again.append) == TaskOutcome("one", 0)
    assert again == ["one: collect is there", "one: extract tiny is there", "one: probe is there"]
    assert [one.result for one in Ledger.open(tasks.settings.folder).stages.values()] == ["collect made", "extract tiny made", "probe made"]


def test_other_settings_do_a_stage_again_with_all_that_rest_on_it(tasks):
    run_task(tasks.settings, lambda line: None)
    tasks.worked.clear()
    tasks.steps = 6
    assert run_task(tasks.settings, lambda line: None).done == 3
    assert tasks.worked == ["collect", "extract tiny", "probe"]


def test_a_stage_that_lost_its_output_is_done_again_and_later_ones_are_not(tasks):
    run_task(tasks.settings, lambda line: None)
    tasks.worked.clear()
    tasks.gone.add("probe")
    run_task(tasks.settings, lambda line: None)
    assert tasks.worked == ["probe"]


def test_frames_that_are_gone_are_not_played_again_while_every_store_is_there(tasks):
    run_task(tasks.settings, lambda line: None)
    tasks.worked.clear()
    tasks.gone.add("collect")
    run_task(tasks.settings, lambda line: None)
    assert tasks.worked == []
    tasks.gone.add("extract tiny")
    run_task(tasks.settings, lambda line: None)
    assert tasks.worked == ["collect", "extract tiny"]


def test_a_stage_that_fails_ends_its_task_with_its_words_and_is_tried_again(tasks):
    tasks.fails, lines = "extract tiny", []
    outcome = run_task(tasks.settings, lines.append)
    assert outcome == TaskOutcome("one", 1, "extract tiny", "no rows", "collect more", DataError.exit_code)
    assert lines[-1] == "one: extract tiny failed: no rows"
    assert Ledger.open(tasks.settings.folder).stages["extract tiny"].key is None
    tasks.fails = ""
    assert run_task(tasks.settings, lines.append) == TaskOutcome("one", 2)


def test_an_interruption_is_no_failure_of_a_task(tasks, monkeypatch):
    def interrupted(task):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "stages_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_task(tasks.settings, lambda line: None)


def test_frames_go_after_the_last_store_where_nobody_needs_them(tasks, tmp_path):
    frames = tmp_path / "frames.h5"
    for keep, needs, stays in ((True, False, True), (False, True, True), (False, False, False)):
        frames.write_bytes(b"x")
        tasks.settings.folder = tmp_path / f"{keep}{needs}"
        tasks.settings.keep_frames, tasks.settings.needs_frames = keep, needs
        tasks.settings.collect = SimpleNamespace(out=frames)
        run_task(tasks.settings, lambda line: None)
        assert frames.exists() is stays


def test_a_ledger_that_is_damaged_fails_its_task_and_no_other(tasks):
    run_task(tasks.settings, lambda line: None)
    (tasks.settings.folder / LEDGER_NAME).write_text("{")
    other = SimpleNamespace(**vars(tasks.settings) | {"name": "two", "folder": tasks.settings.folder.with_name("two")})
    outcomes = list(run_tasks([tasks.settings, other], 1, lambda line: None))
    assert [bool(one.failed) for one in outcomes] == [True, False]
    assert outcomes[0].exit_code == DataError.exit_code


def test_tasks_that_failed_are_all_named_and_the_first_gives_hint_and_code():
    failed = [TaskOutcome("one", 0, "probe", "no rows", "", 4), TaskOutcome("two", 0, "train", "no GPU", "use cpu", 2)]
    error = TasksFailed(failed, 5)
    assert str(error) == "2 of 5 tasks failed: one: probe: no rows; two: train: no GPU"
    assert (error.hint, error.exit_code) == ("run the same command again", 4)
    assert isinstance(error, LayerscoutError)


def test_flags_of_a_study_are_said_as_they_were_given():
    assert flags_of(None, None) == []
    assert flags_of(Path("a b"), 3) == ["--out", Path("a b"), "--processes", 3]


def record(finals: dict[str, list[float | None]], chance: float | None = None) -> RunRecord:
    budget = {"environment_steps": 0, "updates": 0, "trainable_parameters": 0, "flops": 0.0}
    budget |= {"backbone_clips": 0, "wall_seconds": 0.0, "cpu_seconds": 0.0}
    arms = [
        {"name": name, "kind": "ranked", "layer": name, "store_id": None, "head": "mlp", "score": None, "width": 1, "budget": budget}
        for name in finals
    ]
    runs = [
        Run(arm=name, seed=seed, returns=(), evaluations=(), final=final, status="failed" if final is None else "done")
        for name, own in finals.items()
        for seed, final in enumerate(own)
    ]
    values = {"environment": "any", "mode": "offline", "selection": None, "random_policy_return": chance}
    return RunRecord.model_validate(values | {"arms": arms, "runs": runs})


@pytest.mark.parametrize(
    ("finals", "chance", "words"),
    [
        ({"a": [1.0, 2.0], "b": [3.0]}, None, "2 arms, 3 runs, best b +3.00"),
        ({"a": [-1.0, None], "b": [-3.0, -1.5]}, -0.5, "2 arms, 4 runs, best a -1.00, random play -0.50"),
        ({"a": [None], "b": [None]}, 0.0, "2 arms, 2 runs, every run failed, random play +0.00"),
    ],
)
def test_what_agents_earned_is_told_by_the_best_arm_and_by_chance(finals, chance, words):
    assert returns_in_words(record(finals, chance)) == words
