"""What a study's tasks will cost: counted from their settings, and equal to what would be trained, solved and looked at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from layerscout.commands.study.costs import cell_widths, costs_table, episode_length, evaluation_episodes, expected_costs
from layerscout.commands.study.tasks import StudyFile, read_study
from layerscout.rl.arms import CLIPS, PIXELS, ArmSpec
from layerscout.rl.comparison.closed_form import closed_form_arms, in_closed_form
from layerscout.rl.config import TrainConfig

TEXT = """
[backbones.synthetic]
[backbones.wide]
backbone = "synthetic"
dtype = "float32"
layers = ["structured_mid"]

[defaults.collect]
environment = "layerscout/Grid-v0"
steps = 240
policy = "random"
[defaults.extract]
layers = ["structured_mid", "bottleneck"]
passport_clips = 0
[defaults.train]
algorithm = "dqn"
seeds = 2
updates = 12
evaluations = 3
evaluation_episodes = 5
final_episodes = 7

[tasks.one]
[tasks.two]
backbones = ["wide"]
"""
EPISODES = 5 + 5 + 7  # of one run that learns


def study(folder: Path, *assignments: str) -> StudyFile:
    (folder / "many.toml").write_text(TEXT)
    return read_study(folder / "many.toml", assignments=assignments, flags={"out": folder / "out"})


def costs(folder: Path, *assignments: str) -> list[dict]:
    found = study(folder, *assignments)
    return expected_costs(found, found.tasks)["tasks"]


def test_every_layer_the_pixels_and_the_network_from_scratch_are_runs(tmp_path):
    first, second = costs(tmp_path)
    assert (first["task"], first["algorithm"], first["cells"]) == ("one", "dqn", 3)
    assert first["runs"] == (3 + 1 + 1) * 2
    assert first["updates"] == first["runs"] * 12
    assert first["evaluation_episodes"] == first["runs"] * EPISODES
    assert second["runs"] == (1 + 1 + 1) * 2


@pytest.mark.parametrize(
    ("said", "arms"),
    [
        (("train.pixels=false",), 3 + 1),
        (("train.scratch=false",), 3 + 1),
        (("train.cnn=true",), 3 + 1 + 2),
        (("train.random_layers=4",), 3 + 1 + 4 + 1),
        (('train.heads=["linear", "mlp"]', "train.random_layers=1"), 2 * (3 + 1 + 1) + 1),
    ],
)
def test_arms_are_counted_as_they_are_made(tmp_path, said, arms):
    first = costs(tmp_path, *said)[0]
    assert first["runs"] == 2 * arms
    assert first["evaluation_episodes"] == 2 * arms * EPISODES


def test_agents_in_closed_form_take_no_update_and_are_looked_at_once(tmp_path):
    plain = costs(tmp_path)[0]
    beside = costs(tmp_path, "train.closed_form=true")[0]
    assert beside["runs"] - plain["runs"] == (3 + 1) * 2, "one for each representation, whatever heads it has"
    assert beside["updates"] == plain["updates"]
    assert beside["evaluation_episodes"] - plain["evaluation_episodes"] == (3 + 1) * 2 * 7
    assert beside["evaluation_clips"] - plain["evaluation_clips"] == pytest.approx(plain["episode_length"] * 3 * 2 * 7, rel=0.01)
    alone = costs(tmp_path, "train.algorithm=ridge", 'train.heads=["linear", "mlp"]')[0]
    assert (alone["runs"], alone["updates"], alone["evaluation_episodes"]) == ((3 + 1) * 2, 0, (3 + 1) * 2 * 7)


def test_rows_clips_and_bytes_are_those_of_the_stores(tmp_path):
    first, second = costs(tmp_path)
    assert first["rows"] == round(240 * (1 + 1 / first["episode_length"])), "every episode adds its last frame"
    assert (first["clips"], second["clips"]) == (2 * first["rows"], second["rows"])
    found = study(tmp_path).tasks[0]
    widths = {word: cell_widths(config) for word, config in found.extracts.items()}
    assert [name for name, _ in widths["synthetic"].layers] == ["structured_mid", "bottleneck"]
    assert (widths["synthetic"].bytes_of_number, widths["wide"].bytes_of_number) == (2, 4)
    in_a_row = sum(cell.bytes_of_number * sum(width for _, width in cell.layers) for cell in widths.values())
    assert first["store_bytes"] == first["rows"] * in_a_row


def test_sums_are_over_all_tasks(tmp_path):
    found = study(tmp_path)
    both = expected_costs(found, found.tasks)
    for name, whole in both["all"].items():
        assert whole == sum(row[name] for row in both["tasks"])
    assert expected_costs(found, found.tasks[1:])["all"]["runs"] == both["tasks"][1]["runs"]
    assert "seconds" not in both["all"]


def test_a_table_has_a_line_a_task_and_one_for_all(tmp_path):
    found = study(tmp_path)
    lines = costs_table(expected_costs(found, found.tasks)).splitlines()
    assert [line.split()[0] for line in lines] == ["task", "----", "one", "two", "all", "out:"]
    assert lines[-1] == f"out: {tmp_path / 'out'}"
    assert "evaluation s" not in lines[0]


def test_how_long_episodes_are_is_a_property_of_policy_and_world(tmp_path):
    task = study(tmp_path).tasks[0]
    length = episode_length(task)
    assert length == episode_length(task)
    assert 1.0 <= length <= 60.0
    expert = episode_length(study(tmp_path, "collect.policy=epsilon:0").tasks[0])
    assert expert < 14.0 < length, "no way on the board is longer than 14 steps"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, 3 * 10 + 50),
        ({"evaluations": 1}, 50),
        ({"evaluate_at": [5, 9]}, 3 * 50),
        ({"evaluate_at": [5, 20]}, 2 * 50),  # one of them is the end
        ({"updates": 3, "evaluations": 5}, 2 * 10 + 50),  # there are only three updates to look after
        ({"updates": 1, "evaluations": 4}, 50),
        ({"mode": "online", "steps": 2, "evaluations": 4}, 10 + 50),
    ],
)
def test_episodes_of_one_run_are_those_of_its_evaluations(said, expected):
    config = TrainConfig.model_validate({"environment": "any", "updates": 20, "steps": 20} | said)
    assert evaluation_episodes(config) == expected


def arm(name: str, layer: str, kind: str = "ranked", head: str = "mlp", store: str = "a", **more) -> ArmSpec:
    return ArmSpec(name, kind, layer, SimpleNamespace(id=store), head, (8,), 0.5, **more)


def test_every_representation_has_one_arm_in_closed_form_whatever_heads_it_has():
    config = TrainConfig.model_validate({"environment": "any", "heads": ["linear", "mlp"], "ridge": {"form": "cloning"}})
    arms = [
        *(arm(f"blocks.1 + {head}", "blocks.1", head=head) for head in ("linear", "mlp")),
        arm("blocks.1 (twin) + mlp", "blocks.1", "twin", store="b"),
        arm("pixels + mlp", PIXELS, "pixels"),
        arm("random layer 0 + mlp", PIXELS, "random", random_width=5),
        arm("random layer 1 + mlp", PIXELS, "random", random_width=5, random_seed=1),
        arm("scratch", PIXELS, "scratch"),
        arm("scratch cnn", CLIPS, "cnn"),
    ]
    solved = closed_form_arms(arms, config)
    assert [one.name for one in solved] == [
        f"closed form, {name}" for name in ("blocks.1", "blocks.1 (twin)", "pixels", "random layer 0", "random layer 1")
    ]
    assert {(one.head, one.hidden) for one in solved} == {("ridge-cloning", ())}
    assert all(map(in_closed_form, solved))
    assert not any(map(in_closed_form, arms))
    assert closed_form_arms([arm("a + mlp", "a")], TrainConfig(environment="any"))[0].name == "closed form, a + mlp", "one head names none"
