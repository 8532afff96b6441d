"""Training end to end: killed and continued it is bit-equal, it does nothing twice, it counts what it spends."""

from __future__ import annotations

import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from by_hand import INTERCEPT, select, settings, without_times
from training_by_hand import MODES, small_settings, train

from layerscout.cache import durable, records
from layerscout.cache.records import RunRecord, Selection
from layerscout.errors import DataError, UsageError
from layerscout.progress import SILENT
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.arms import ArmSpec, arms_of
from layerscout.rl.comparison import in_loop
from layerscout.rl.comparison.groups import ComparisonSetting, feature_groups
from layerscout.rl.comparison.learners import ActionSpace
from layerscout.rl.loops import checkpoint, learning
from layerscout.rl.loops.learning import GroupCheckpoint
from layerscout.rl.loops.log import Log
from layerscout.rl.memory.replay import ReplayRows
from layerscout.rl.run import plan
from layerscout.worlds.grid import Grid


@pytest.fixture(autouse=True)
def _few_calibration_clips(monkeypatch):
    monkeypatch.setattr(in_loop, "CALIBRATION_CLIPS", 8)


@pytest.fixture(scope="module")
def unbroken(chosen, tmp_path_factory):
    """Each mode trained once without interruption: mode → (settings, record)."""
    done = {}

    def get(mode):
        if mode not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(in_loop, "CALIBRATION_CLIPS", 8)
                config = small_settings(chosen, tmp_path_factory.mktemp(mode), mode)
                done[mode] = config, train(config)
        return done[mode]

    return get


# --- what comes out


@pytest.mark.parametrize("mode", MODES)
def test_every_arm_and_seed_is_trained_and_reported(unbroken, mode):
    config, record = unbroken(mode)
    names = [arm.name for arm in record.arms]
    if mode == "in-loop":
        assert names == ["blocks.5", "re-initialised block", "weight-shuffled block", "no block", "trained block"]
        assert [arm.kind for arm in record.arms] == ["ranked", "reinitialised", "shuffled", "identity", "trained"]
    else:
        assert names == ["structured_mid", "random_narrow", "pixels", "scratch"]
        assert [arm.head for arm in record.arms] == ["mlp-16", "mlp-16", "mlp-16", "mlp-12-8"]
        assert [arm.width for arm in record.arms] == [8, 16, 256, 256]
    assert [(run.arm, run.seed) for run in record.runs] == [(name, seed) for name in names for seed in range(2)]
    assert {run.status for run in record.runs} == {"done"}
    total = config.updates if mode == "offline" else config.steps
    for one in record.runs:
        at = [when for when, _ in one.evaluations]
        assert at == [total * (number + 1) // config.evaluations for number in range(config.evaluations)]
        assert [len(values) for _, values in one.evaluations] == [config.evaluation_episodes] * (len(at) - 1) + [config.final_episodes]
        if mode == "offline":
            assert one.returns == one.evaluations[-1][1]
        if one.returns:
            assert one.final == pytest.approx(np.mean(one.returns[-50:]))
    assert record.random_policy_return == pytest.approx(-0.19 if mode != "in-loop" else -0.45, abs=0.3)
    for name in ("runs.json", "settings.json", "experiment_returns.csv", "experiment_summary.csv", "experiment_summary_table.md"):
        assert (config.out / name).is_file()
    assert records.load(RunRecord, config.out / "runs.json") == record
    assert type(config).model_validate(records.load_object(config.out / "settings.json")) == plan(config).resolved
    assert not list(config.out.rglob("checkpoint.npz"))
    assert not list(config.out.rglob("*.partial"))


@pytest.mark.parametrize("mode", MODES)
def test_training_changed_the_agents(unbroken, mode, chosen, tmp_path, monkeypatch):
    """The record of agents that never learn must differ, or the tests around here would show nothing."""
    _, learned = unbroken(mode)  # before anything is patched: it is trained when it is first asked for

    def idle_update(self, batch):
        self.updates += 1
        return np.zeros(len(self.seeds), np.float32)

    monkeypatch.setattr(DQN, "update", idle_update)
    idle = train(small_settings(chosen, tmp_path, mode))
    assert idle.runs != learned.runs


def test_heads_are_a_factor_that_every_layer_is_crossed_with(chosen, tmp_path):
    record = train(small_settings(chosen, tmp_path, heads=("linear", "mlp"), updates=4, seeds=1))
    crossed = [f"{layer} + {head}" for layer in ("structured_mid", "random_narrow", "pixels") for head in ("linear", "mlp")]
    assert sorted(arm.name for arm in record.arms) == sorted([*crossed, "scratch"])
    assert {arm.head for arm in record.arms} == {"linear", "mlp-16", "mlp-12-8"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["linear", "mlp-12-8", "mlp-16"]


def test_heads_are_a_factor_in_the_loop_too(chosen, tmp_path):
    planned = plan(small_settings(chosen, tmp_path, "in-loop", heads=("linear", "mlp")))
    names = ("blocks.5", "re-initialised block", "weight-shuffled block", "no block", "trained block")
    assert [arm.name for arm in planned.arms] == [f"{name} + {head}" for head in ("linear", "mlp") for name in names]
    assert planned.describe()["runs"] == 20


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_controls_on_demand_are_trained_beside_the_others(chosen, tmp_path, mode):
    record = train(small_settings(chosen, tmp_path, mode, random_layers=2, cnn=True, seeds=1, steps=70))
    arms = {arm.name: arm for arm in record.arms}
    assert list(arms) == ["structured_mid", "random_narrow", "pixels", "random layer 0", "random layer 1", "scratch", "scratch cnn"]
    assert {run.status for run in record.runs} == {"done"}
    ranked, random = arms["structured_mid"].budget, arms["random layer 0"].budget
    assert (random.trainable_parameters, random.flops) == (ranked.trainable_parameters, ranked.flops), "same width, same head"
    assert arms["random layer 0"].budget.backbone_clips == arms["scratch cnn"].budget.backbone_clips == 0
    finals = [run.returns for run in record.runs if run.arm.startswith("random layer")]
    assert len(finals) == 2


def test_all_layers_take_part_with_their_scores(chosen, tmp_path, synthetic_store, small):
    from layerscout.probe.config import ProbeConfig
    from layerscout.probe.run import plan as plan_probe
    from layerscout.probe.run import run as probe

    ranking = probe(plan_probe(ProbeConfig(store=synthetic_store.id, root=small.root, out=tmp_path / "probe", top_k=1, confirmation=0.0)))
    config = settings(tmp_path / "probe" / "selection.json", tmp_path / "train", small.root, all_layers=True)
    arms = {arm.name: arm for arm in plan(config).arms}
    scores = {layer.name: layer.ordered_by(ranking.score_kind).value for layer in ranking.candidates}
    assert {name: arm.score for name, arm in arms.items() if name in scores} == pytest.approx(scores)
    assert set(scores) <= set(arms)
    few = plan(config.model_copy(update={"all_layers": False})).arms
    assert len(few) < len(arms)


def test_all_layers_are_those_of_every_ranked_store_whichever_was_chosen_from(small, tmp_path, tiny_store, untrained_store):
    """Every choice lies in the first store; the other one's layers are trained all the same, in the order of the stores."""
    from layerscout.probe.config import ProbeConfig
    from layerscout.probe.run import plan as plan_probe
    from layerscout.probe.run import run as probe

    layers = ("blocks.0", "blocks.7")
    probed = ProbeConfig(
        store=tiny_store.id, others=(untrained_store.id,), layers=layers, root=small.root, out=tmp_path / "probe", groups=3, folds=3
    )
    ranking = probe(plan_probe(probed))
    path = select(tmp_path / "probe" / "selection.json", ("ranked", tiny_store, "blocks.7"), ("pixels", tiny_store, "pixels"))
    config = settings(path, tmp_path / "train", small.root, environment=INTERCEPT, all_layers=True, scratch=False)
    arms = plan(config).arms
    names = [f"blocks.{number}" for number in range(8)]
    assert [arm.name for arm in arms] == ["blocks.7", "pixels", *names[:7], *(f"{name} (untrained)" for name in names)]
    scored = {(arm.store.id, arm.layer): arm.score for arm in arms if arm.kind == "layer" and arm.score is not None}
    assert scored.items() <= {(layer.store_id, layer.name): layer.score.value for layer in ranking.candidates}.items()
    assert len(scored) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "sac", "mode": "online"}, "discrete actions, and sac needs continuous ones"),
        ({"algorithm": "iql", "mode": "online"}, "iql learns from a fixed dataset"),
        ({"algorithm": "sac"}, "discrete actions, and sac"),
    ],
    ids=str,
)
def test_the_wrong_learner_is_refused_before_any_work(chosen, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        plan(small_settings(chosen, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_discrete_actions_can_be_learned_by_iql_too(chosen, tmp_path):
    record = train(small_settings(chosen, tmp_path, algorithm="iql", seeds=1, iql={"batch": 16, "hidden": [8]}))
    assert {run.status for run in record.runs} == {"done"}
    assert {arm.head for arm in record.arms} == {"mlp-8", "mlp-12-8"}


@pytest.mark.parametrize("kind", ["patch", "linear", "conv"])
def test_adapters_are_settings_of_the_loop(chosen, tmp_path, kind):
    record = train(small_settings(chosen, tmp_path, "in-loop", adapter_in=kind, adapter_out="attention", seeds=1, steps=8))
    parameters = {arm.kind: arm.budget.trainable_parameters for arm in record.arms}
    assert parameters["ranked"] == parameters["reinitialised"] == parameters["shuffled"] == parameters["identity"]
    assert parameters["trained"] > parameters["ranked"]


@pytest.mark.parametrize("mode", MODES)
def test_dueling_heads_and_longer_targets_are_settings_of_every_mode(chosen, tmp_path, mode):
    dqn = {"batch": 3, "warm_up": 5, "target_interval": 4, "hidden": [8], "dueling": True, "n_step": 3}
    record = train(
        small_settings(chosen, tmp_path, mode, seeds=1, dqn=dqn, steps=12, updates=5, **({} if mode == "in-loop" else {"cnn": True}))
    )
    assert {run.status for run in record.runs} == {"done"}


@pytest.mark.parametrize(("name", "value"), [("frame_shape", (9, 9, 2)), ("action_count", 4)])
def test_an_environment_that_is_no_longer_the_datasets_is_refused(chosen, tmp_path, monkeypatch, name, value):
    monkeypatch.setattr(Grid, name, property(lambda self: value, lambda self, given: None), raising=False)
    with pytest.raises(UsageError, match=f"has {name} .*, and the dataset was collected with"):
        plan(small_settings(chosen, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_network_from_scratch_can_be_left_out(chosen, tmp_path):
    assert [arm.kind for arm in plan(small_settings(chosen, tmp_path, scratch=False)).arms] == ["ranked", "middle", "pixels"]


@pytest.mark.parametrize(("total", "evaluations"), [(40, 2), (10, 4), (11, 3), (3, 5), (5001, 4)])
def test_evaluations_are_as_many_as_asked_and_the_last_is_the_final_one(total, evaluations):
    config = SimpleNamespace(evaluate_at=(), evaluations=evaluations, final_episodes=3, evaluation_episodes=2)
    stage = SimpleNamespace(evaluate=lambda policy, episodes: np.zeros((1, episodes)))
    task, log = SimpleNamespace(advance=lambda *a, **k: None), SimpleNamespace(add=lambda *a: None, begin=lambda *a: None)
    watched = learning.Evaluations(SimpleNamespace(act=None), stage, config, total, log, task)
    for at in range(1, total + 1):
        watched.look(at)
    found = watched.made
    assert len(found) == min(total, evaluations)
    assert [len(values[0]) for _, values in found] == [2] * (len(found) - 1) + [3]
    assert found[-1][0] == total


# --- killed and continued


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def kill_after(monkeypatch, saves: int, late: int):
    """Die ``late`` updates after the ``saves``-th checkpoint was written (0: at once)."""
    written, since = [], []
    whole_save, whole_update = GroupCheckpoint.save, DQN.update

    def save(self, state):
        whole_save(self, state)
        written.append(self.path)
        if len(written) == saves and not late:
            raise Killed

    def update(self, batch):
        if len(written) == saves:
            since.append(1)
            if len(since) > late:
                raise Killed
        return whole_update(self, batch)

    monkeypatch.setattr(learning, "SPARING", 0)  # a checkpoint whenever the settings say so
    monkeypatch.setattr(GroupCheckpoint, "save", save)
    monkeypatch.setattr(DQN, "update", update)
    return written


@pytest.mark.parametrize(
    ("mode", "saves", "late"),
    [("offline", 2, 0), ("offline", 3, 3), ("online", 1, 3), ("online", 4, 0), ("in-loop", 1, 3), ("in-loop", 8, 0)],
    ids=str,  # died so many updates after that checkpoint
)
def test_killed_and_continued_is_bit_equal(unbroken, chosen, tmp_path, mode, saves, late):
    config = small_settings(chosen, tmp_path, mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_loop, "CALIBRATION_CLIPS", 8)
        written = kill_after(patch, saves, late)
        with pytest.raises(Killed):
            train(config)
        assert not (config.out / "runs.json").exists()
        assert written[-1].exists()
    assert without_times(train(config)) == without_times(unbroken(mode)[1])


def test_a_video_model_in_the_loop_of_acting_continues_bit_equal(chosen, tmp_path, tiny_store):
    """Games start again at different times, so the model sees batches of different sizes, which round differently."""
    selection = select(tmp_path / "one.json", ("ranked", tiny_store, "blocks.1"))

    def config(out):
        steps = {"steps": 48, "evaluations": 1, "final_episodes": 1, "checkpoint_updates": 34, "scratch": False}
        return settings(selection, tmp_path / out, chosen.root, environment=INTERCEPT, mode="online", **steps)

    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1, 5)
        with pytest.raises(Killed):
            train(config("broken"))
    whole = train(config("whole"))
    assert all(one.returns for one in whole.runs), "an episode ended, so a game started again"
    assert without_times(train(config("broken"))) == without_times(whole)


def test_the_time_of_all_processes_is_counted(chosen, tmp_path, monkeypatch):
    config = small_settings(chosen, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1, 0)
        with pytest.raises(Killed):
            train(config)
    path = tmp_path / "mlp-16" / "checkpoint.npz"
    key = plan(config).key
    checkpoint.save_checkpoint(path, key, checkpoint.load_checkpoint(path, key) | {"seconds": [1e9, 3e8]})
    arms = {arm.name: arm.budget for arm in train(config).arms}
    # what was saved is far more than the rest can take: it is counted once, shared by three arms, and by no other group
    assert 1e9 < arms["structured_mid"].wall_seconds < 2e9
    assert 1e8 < arms["structured_mid"].cpu_seconds < 2e8
    assert arms["scratch"].wall_seconds < 1e8


@pytest.mark.parametrize("mode", ["offline", "in-loop"])
def test_the_same_command_again_trains_nothing(unbroken, mode, monkeypatch):
    """And writes nothing, as on a disk that is read-only now."""
    config, record = unbroken(mode)
    monkeypatch.setattr(durable, "whole_file", lambda *a: pytest.fail("written again"))
    results = {path: path.stat().st_mtime_ns for path in config.out.rglob("result.json")}
    monkeypatch.setattr(DQN, "update", lambda *a: pytest.fail("trained again"))
    monkeypatch.setattr(DQN, "act", lambda *a: pytest.fail("played again"))
    assert plan(config).describe()["exists"]
    assert train(config) == record
    assert {path: path.stat().st_mtime_ns for path in config.out.rglob("result.json")} == results


def test_a_damaged_result_of_a_group_is_refused_and_says_what_to_do(unbroken, tmp_path):
    config, _ = unbroken("offline")
    moved = config.model_copy(update={"out": tmp_path / "copy"})
    shutil.copytree(config.out, moved.out)
    path = next(moved.out.rglob("result.json"))
    path.write_bytes(path.read_bytes().replace(b'"final"', b'"fynal"', 1))
    with pytest.raises(DataError, match=r"result\.json") as raised:
        train(moved)
    assert f"delete {path}" in raised.value.hint


def test_where_and_how_fast_do_not_matter_to_a_continuation(unbroken):
    config, record = unbroken("offline")
    assert train(config.model_copy(update={"checkpoint_updates": 7, "threads": 1})) == record


@pytest.mark.parametrize(
    "changes", [{"seeds": 1}, {"updates": 39}, {"dqn": {"lr": 0.5}}, {"heads": ("linear",)}, {"mode": "online"}], ids=str
)
def test_other_settings_on_finished_results_are_refused_and_change_nothing(unbroken, chosen, changes):
    config, _ = unbroken("offline")
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="holds results of other settings") as error:
        plan(small_settings(chosen, config.out, **changes))
    assert "--out" in error.value.hint
    assert {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()} == before


def test_other_settings_on_half_finished_results_are_refused(chosen, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1, 0)
        with pytest.raises(Killed):
            train(small_settings(chosen, tmp_path))
    with pytest.raises(UsageError, match="was begun with fewer runs and has not finished"):
        plan(small_settings(chosen, tmp_path, seeds=3))


def test_another_selection_is_other_settings(unbroken, chosen, tmp_path, synthetic_store):
    config, _ = unbroken("offline")
    other = select(tmp_path / "other.json", ("ranked", synthetic_store, "random_wide"))
    with pytest.raises(UsageError, match="another selection"):
        plan(config.model_copy(update={"selection": other}))


def test_training_stops_at_a_damaged_checkpoint(chosen, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1, 0)
        with pytest.raises(Killed):
            train(small_settings(chosen, tmp_path))
    path = tmp_path / "mlp-16" / "checkpoint.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoint\.npz is damaged"):
        train(small_settings(chosen, tmp_path))


# --- neighbours


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_an_arm_alone_learns_what_it_learns_beside_others(chosen, tmp_path, mode, synthetic_store):
    def learned(arms, out):
        config = small_settings(chosen, out, mode)
        (group,) = feature_groups(
            [arm for arm in arms if arm.kind != "scratch"],
            ComparisonSetting(config, lambda copies: Grid(copies, "planes"), ActionSpace(5, 0)),
        )
        with SILENT.task("train", 1) as task:
            return group.learn(
                GroupCheckpoint(out / "checkpoint.npz", "key"), Log([("any", run) for run in range(2 * len(group.arms))], out), task
            )

    arms = arms_of(records.load(Selection, chosen.grid), small_settings(chosen, tmp_path, mode))
    (dqn, history, _), width = learned(arms, tmp_path / "all"), arms[1].width
    alone, history_alone, _ = learned(arms[1:2], tmp_path / "alone")
    together = [parameter[2:4].detach() for parameter in dqn.online.parameters()]
    for beside, single in zip(together, alone.online.parameters(), strict=True):
        trimmed = beside[:, :width] if beside.shape[1] > single.shape[1] else beside
        np.testing.assert_allclose(trimmed, single.detach(), atol=1e-4)
        assert not beside[:, single.shape[1] :].any(), "the padding of a narrow arm stays zero"
    assert history.returns[2:4] == history_alone.returns
    assert [[at, returns[2:4]] for at, returns in history.evaluations] == history_alone.evaluations


def test_arms_whose_padding_would_be_most_of_the_work_train_apart(chosen, tmp_path, synthetic_store):
    """No arm is lost, arms of one group are at most four times narrower than its widest, and small arms stay together whatever they are."""

    def groups(*widths):
        arms = [ArmSpec(f"{width} wide", "random", "pixels", synthetic_store, "mlp", (16,), None, random_width=width) for width in widths]
        setting = ComparisonSetting(small_settings(chosen, tmp_path), lambda copies: Grid(copies, "planes"), ActionSpace(5, 0))
        return {group.name: [arm.width for arm in group.arms] for group in feature_groups(arms, setting)}

    assert groups(64, 1024, 256, 63, 10) == {"mlp-16": [1024, 256], "mlp-16-width-64": [64, 63, 10]}
    assert groups(1024, 255, 63) == {"mlp-16": [1024], "mlp-16-width-255": [255, 63]}
    assert groups(1000, 3, 40) == {"mlp-16": [1000, 3, 40]}


def test_a_run_that_fails_is_reported_and_harms_no_other(unbroken, chosen, tmp_path, monkeypatch):
    whole, draws = ReplayRows.sample, []

    def spoilt(self, *arguments):
        drawn = whole(self, *arguments)
        draws.append(1)
        if len(draws) == 9:
            drawn.reward[1] = np.nan  # the second seed of the first arm
        return drawn

    monkeypatch.setattr(ReplayRows, "sample", spoilt)
    record = train(small_settings(chosen, tmp_path))
    expected = unbroken("offline")[1]
    failed, *others = [one for one in record.runs if one.status == "failed"]
    assert not others
    assert (failed.arm, failed.seed, failed.final) == ("structured_mid", 1, None)
    assert "update 9" in failed.reason
    assert [one for one in record.runs if one.status == "done"] == [
        one for one in expected.runs if (one.arm, one.seed) != ("structured_mid", 1)
    ]
    assert "1" in (tmp_path / "experiment_summary.csv").read_text()


# --- budgets


def test_budgets_offline(unbroken, synthetic_store):
    config, record = unbroken("offline")
    transitions = int((synthetic_store.index("action") >= 0).sum())
    for arm in record.arms:
        sizes = [arm.width, 12, 8, 5] if arm.kind == "scratch" else [arm.width, 16, 5]
        products = sum(a * b for a, b in itertools.pairwise(sizes))
        assert arm.budget.environment_steps == transitions
        assert arm.budget.updates == config.updates
        assert arm.budget.trainable_parameters == products + sum(sizes[1:])
        assert (
            arm.budget.flops == config.updates * 2 * config.dqn.batch * 5 * products
        )  # forward and backward of Q(s), two forwards of Q(s')
        assert arm.budget.backbone_clips == 0
        assert arm.budget.wall_seconds > 0


def test_budgets_online(unbroken):
    config, record = unbroken("online")
    groups_of_runs = [[run for run in record.runs if run.arm != "scratch"], [run for run in record.runs if run.arm == "scratch"]]
    for arm in record.arms:
        mine = groups_of_runs[arm.kind == "scratch"]
        assert arm.budget.environment_steps == config.steps
        assert arm.budget.updates == config.steps - config.dqn.warm_up + 1
        ended = sum(len(run.returns) for run in mine)
        seen = (len(mine) * (config.steps + 1) + ended) // len(mine)  # every frame of every episode, once
        assert arm.budget.backbone_clips == (0 if arm.kind in {"pixels", "scratch"} else seen)


def test_budgets_in_the_loop(unbroken):
    config, record = unbroken("in-loop")
    by_kind = {arm.kind: arm.budget for arm in record.arms}
    assert all(budget.updates == config.steps - config.dqn.warm_up + 1 for budget in by_kind.values())
    assert all(budget.backbone_clips == 0 for budget in by_kind.values())
    assert (
        by_kind["ranked"].trainable_parameters == by_kind["identity"].trainable_parameters == by_kind["reinitialised"].trainable_parameters
    )
    assert by_kind["trained"].trainable_parameters > by_kind["ranked"].trainable_parameters
    assert by_kind["trained"].flops > by_kind["ranked"].flops > by_kind["identity"].flops
