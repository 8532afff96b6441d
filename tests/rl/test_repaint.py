"""Transfer from a teacher: selection, schedules, counted steps, what is refused, and that a kill or neighbours change nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents.configs import PPOConfig
from layerscout.rl.agents.densities import cross_entropy
from layerscout.rl.agents.ppo import ppo_on_features
from layerscout.rl.loops.checkpoint import save_checkpoint
from layerscout.rl.memory.rollout import Rollout
from layerscout.rl.transfer import students
from layerscout.rl.transfer.config import RepaintConfig
from layerscout.rl.transfer.repaint import Lesson, Repaint, in_unit
from layerscout.rl.transfer.students import train_arm
from layerscout.rl.transfer.tasks import reacher_task
from layerscout.rl.transfer.teacher import Teacher
from layerscout.rl.transfer.teacher_files import load_teacher

SMALL = PPOConfig(lr=1e-3, batch=50, epochs=2, length=50, environments=2, hidden=(8,), reward_scale=0.1, lowest_log_deviation=-3.0)


def arm(name: str = "repaint", **changes: Any) -> RepaintConfig:
    values = {"arm": name, "iterations": 4, "seeds": 2, "evaluation_episodes": 2, "instances": 16, "ppo": SMALL}
    return RepaintConfig.model_validate(values | {"alpha2_decay": 0.75, "beta_decay": 0.75} | changes)


def teacher(deviation: float = 0.1, seed: int = 11, steps: int | None = 1000) -> Teacher:
    config = PPOConfig(hidden=(8,), log_deviation=math.log(deviation))
    return Teacher.of(ppo_on_features(config, 10, [seed], dimensions=2), steps=steps)


def learner(config: RepaintConfig, its: Teacher | None = None) -> Repaint:
    return students._agent(config, reacher_task(), its or teacher())


def demonstration(agent: Repaint, lag: float = 0.0, keep_none: bool = False) -> Rollout:
    """Steps whose rewards lie ``lag`` above what the value foretells, so that every advantage is large."""
    rng, shape = np.random.default_rng(0), (2, 50, 2)
    z = rng.standard_normal((*shape, 10)).astype(np.float32)
    action = agent.teacher.draw(z.reshape(2, 100, 10), [np.random.default_rng(seed) for seed in (1, 2)]).reshape(*shape, 2)  # type: ignore[union-attr]
    reward = (lag + rng.standard_normal(shape)).astype(np.float32) * (not keep_none)
    no = np.zeros(shape, bool)
    return Rollout(z, action, reward, ~no, no, np.zeros(shape, np.float32), z[:, -1])


# --- selection


@pytest.mark.parametrize("unit", ["upward", "deviation"])
def test_centring_keeps_a_filter_a_filter_where_the_value_lags(unit: Any) -> None:
    centred, plain = (learner(arm(zeta_unit=one)) for one in (unit, "reward"))
    share = centred.judge(demonstration(centred, lag=30.0)).kept_share
    assert (share > 0.05).all()
    assert (share < 0.5).all()
    assert plain.judge(demonstration(plain, lag=30.0)).kept_share.min() > 0.9, "the trap: nearly everything passes"


def test_a_long_tail_below_empties_no_filter_that_counts_upwards() -> None:
    """A harmful teacher's first steps: a third of them cost more the sooner they come, the others are worth about the same."""
    rng = np.random.default_rng(0)
    usual = rng.normal(0.0, 0.1, 2000)
    advantage = torch.from_numpy(np.where(np.arange(2000) < 600, usual - rng.exponential(3.0, 2000), usual))[None]
    shares = {unit: float((in_unit(advantage, unit) >= 1.0).double().mean()) for unit in ("upward", "deviation")}  # type: ignore[arg-type]
    assert shares["deviation"] < 0.01, "the trap: the tail stretches the deviation"
    assert 0.05 < shares["upward"] < 0.5
    worse = torch.where(advantage < -1.0, advantage * 100.0, advantage)
    torch.testing.assert_close(in_unit(worse, "upward") >= 1.0, in_unit(advantage, "upward") >= 1.0)


@given(hnp.arrays(np.float64, (2, 31), elements=st.integers(-50, 50).map(float)), st.integers(-9, 9), st.sampled_from([0.5, 2.0, 8.0]))
def test_upward_deviations_know_neither_level_nor_unit_and_pass_at_most_half(advantage: np.ndarray, level: int, unit: float) -> None:
    found = in_unit(torch.from_numpy(advantage), "upward")
    assert ((found >= 1.0).double().mean(1) <= 0.5).all()
    moved = in_unit(torch.from_numpy(advantage * unit + level), "upward")
    some = advantage.max(1) > np.median(advantage, axis=1)
    torch.testing.assert_close(moved[some], found[some], rtol=1e-6, atol=1e-6)
    assert (found.numpy().max(1)[some] >= 1.0 - 1e-6).all(), "the best one passes where anything lies above the median"
    assert (found.numpy().max(1)[~some] == 0.0).all()


@pytest.mark.parametrize("zeta", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("unit", ["upward", "deviation", "reward"])
def test_what_is_kept_is_at_least_zeta(zeta: float, unit: Any) -> None:
    agent = learner(arm(zeta=zeta, zeta_unit=unit))
    taught = agent.judge(demonstration(agent))
    advantage = taught.steps.advantage.numpy()
    raw = agent.prepare(demonstration(agent)).advantage.numpy()
    np.testing.assert_array_equal(taught.kept, (raw if unit == "reward" else advantage) >= zeta)
    if unit == "upward":
        np.testing.assert_array_equal([(advantage > 0).sum(1), (advantage < 0).sum(1)], [[50, 50], [49, 49]])
    else:
        np.testing.assert_allclose(advantage.std(1, ddof=1), 1, atol=1e-4)
    chosen = agent._chosen(taught)
    some = taught.kept.any(axis=1)
    assert np.isin(chosen.advantage[some].numpy(), advantage[some][taught.kept[some]]).all()
    assert ((taught.effective > 0) == some).all()
    assert (taught.effective <= 1 + 1e-6).all()


def test_a_filter_that_keeps_nothing_leaves_kickstarting_alone() -> None:
    both, kicked = learner(arm(zeta=1e6)), learner(arm("ks"))
    kicked.load_state_dict(both.state_dict())
    rollout, taught = demonstration(both), both.judge(demonstration(both))
    assert taught.kept_share.tolist() == [0.0, 0.0]
    assert taught.effective.tolist() == [0.0, 0.0]
    both.study(rollout, Lesson(1.0, 1.0, taught))
    kicked.study(rollout, Lesson(1.0, 0.0, None))
    np.testing.assert_allclose(both.state_dict()["network"]["values"], kicked.state_dict()["network"]["values"], atol=1e-6)


@pytest.mark.parametrize("denominator", ["old", "teacher"])
def test_ratios_begin_at_one_or_at_the_density_ratio_and_are_bounded(denominator: Any) -> None:
    agent = learner(arm(denominator=denominator, zeta=-9.0, largest_ratio=2.0))
    taught = agent.judge(demonstration(agent))
    output = agent.network.policy(taught.steps.z)
    gain = agent.instance_gain(taught.steps, output)
    if denominator == "old":
        torch.testing.assert_close(gain, taught.steps.advantage)
    else:  # a narrow teacher's own actions are more likely to it than to a wide student
        above = taught.steps.advantage > 0
        assert float(gain[above].detach().sum() / taught.steps.advantage[above].sum()) < 0.1
    better = taught.steps._replace(old=taught.steps.old - 50.0, advantage=-torch.ones_like(taught.steps.old))
    assert agent.instance_gain(better, output).min() >= -2.0 - 1e-5, "the bound holds where clipping does not"


# --- the two losses


def test_kickstarting_brings_the_student_to_its_teacher_and_the_deviation_to_the_floor() -> None:
    its = teacher(0.03)
    agent = learner(arm("ks", alpha1=1.0, ppo=SMALL.model_copy(update={"lr": 0.02, "epochs": 40})), its)
    rollout = demonstration(agent, keep_none=True)
    z = torch.from_numpy(rollout.flat("z"))

    def away() -> float:
        with torch.no_grad():
            return float(cross_entropy(its(z), its.logarithm, agent.network.policy(z), agent.network.logarithm).mean())

    before = away()
    for _ in range(6):
        agent.study(rollout, Lesson(5.0, 0.0, None))
    assert away() < before - 2.0
    assert agent.network.logarithm is not None
    assert agent.network.logarithm.min() >= SMALL.lowest_log_deviation
    assert np.isfinite(agent.state_dict()["network"]["values"]).all()


def test_instances_move_the_policy_and_never_the_value() -> None:
    taught_one, plain = learner(arm("it")), learner(arm("it"))
    rollout = demonstration(plain)
    taught = taught_one.judge(rollout)
    taught_one.config = plain.config = SMALL.model_copy(update={"epochs": 1, "batch": 100, "gradient_clip": 0.0})
    taught_one.study(rollout, Lesson(0.0, 1.0, taught))
    plain.study(rollout, Lesson(0.0, 0.0, None))
    for mine, theirs in zip(taught_one.network.value.parameters(), plain.network.value.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert not torch.equal(taught_one.network.policy.layers[-1].weight, plain.network.policy.layers[-1].weight)  # type: ignore[union-attr, index, operator]


def one_step(action: np.ndarray, z: np.ndarray) -> Rollout:
    """Episodes of one step whose best action is 0.6 in every state."""
    reward = -np.square(action - 0.6).sum(-1).astype(np.float32)
    yes = np.ones(reward.shape, bool)
    return Rollout(z, action, reward, yes, ~yes, np.zeros(reward.shape, np.float32), z[:, -1])


@pytest.mark.parametrize(("until", "ends"), [(math.inf, (-0.2, 0.3)), (10, (0.5, 0.7))])
def test_instances_hold_a_student_at_a_bad_teacher_until_their_weight_fades(until: float, ends: tuple[float, float]) -> None:
    its = teacher(0.1)
    its.layers[-1][0].zero_()
    its.layers[-1][1].fill_(-0.7)  # far from the best action, and kept steps are only the better ones of its own
    agent = learner(arm("it", instances=64, ppo=SMALL.model_copy(update={"lr": 0.01, "epochs": 4, "reward_scale": 1.0})), its)
    rng, mine, its_own = np.random.default_rng(0), *([np.random.default_rng(seed) for seed in seeds] for seeds in ((1, 2), (3, 4)))
    for iteration in range(40):
        z = rng.standard_normal((2, 50, 2, 10)).astype(np.float32)
        flat, weight = z.reshape(2, 100, 10), max(0.0, 1.0 - iteration / until)
        taught = agent.judge(one_step(its.draw(flat, its_own).reshape(2, 50, 2, 2), z)) if weight else None
        agent.study(one_step(agent.draw(flat, mine).reshape(2, 50, 2, 2), z), Lesson(0.0, weight, taught))
    assert ends[0] < agent.act(flat).mean() < ends[1]


def test_schedules_end_and_the_alternating_form_takes_turns() -> None:
    config = arm(iterations=100, beta=2.0, beta_decay=0.4, alpha2_decay=None)
    assert arm("it", iterations=100, alpha2_decay=None).alpha2_at(99) == 1.0, (
        "nothing else helps this arm: it learns from the teacher to the end"
    )
    assert [config.beta_at(at) for at in (0, 20, 40, 99)] == [2.0, 1.0, 0.0, 0.0]
    assert [config.alpha2_at(at) for at in (0, 25, 99)] == [1.0, 0.0, 0.0]
    assert (arm("ks").alpha2_at(0), arm("it").beta_at(0), arm("baseline").beta_at(0)) == (0.0, 0.0, 0.0)
    turns = config.model_copy(update={"alternating": True})
    assert [(turns.beta_at(at) > 0, turns.alpha2_at(at) > 0) for at in range(4)] == [(True, False), (False, True)] * 2


# --- students


def test_steps_of_the_teacher_are_counted_and_end_with_its_weight() -> None:
    _, curves = train_arm(arm(), reacher_task(), teacher())
    assert curves.student_steps == [100] * 4
    assert curves.teacher_steps == [100, 100, 100, 0], "it plays no longer once it counts nothing"
    assert [kept is None for kept in curves.kept] == [False, False, False, True]
    assert curves.teacher_training_steps == 1000
    assert all(value is not None and value < 0 for row in curves.sampled for value in row)
    made: list[int] = []
    task = reacher_task()
    counted = replace(task, make_world=lambda copies: (made.append(copies), task.make_world(copies))[1])
    _, kicked = train_arm(arm("ks", evaluation_episodes=3), counted, teacher())
    assert kicked.teacher_steps == [0] * 4
    assert made.count(4) == 1, "a teacher that does not play has no games"


def test_killed_and_continued_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, expected = train_arm(arm(), reacher_task(), teacher(), tmp_path / "whole.npz")
    saves, save = [], students.save_checkpoint

    def die(*arguments: Any) -> None:
        save(*arguments)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(students, "save_checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            train_arm(arm(), reacher_task(), teacher(), tmp_path / "broken.npz")
    again, curves = train_arm(arm(), reacher_task(), teacher(), tmp_path / "broken.npz")
    assert curves == expected
    np.testing.assert_array_equal(again.state_dict()["network"]["values"], whole.state_dict()["network"]["values"])
    with pytest.raises(DataError, match="belongs to other settings"):
        train_arm(arm(beta=0.5), reacher_task(), teacher(), tmp_path / "broken.npz")


def test_a_run_alone_is_the_run_beside_others() -> None:
    # where batches do not fill whole vectors, exp and tanh round otherwise at the end of an array than within it
    whole_vectors = SMALL.model_copy(update={"batch": 48, "length": 48})
    together_agent, together = train_arm(arm(seeds=3, ppo=whole_vectors), reacher_task(), teacher())
    alone_agent, alone = train_arm(arm(seeds=1, ppo=whole_vectors), reacher_task(), teacher())
    assert alone.scores == [row[:1] for row in together.scores]
    assert alone.kept == [None if row is None else row[:1] for row in together.kept]
    values = (agent.state_dict()["network"]["values"][0] for agent in (alone_agent, together_agent))
    np.testing.assert_array_equal(*values)


def test_a_run_that_breaks_stops_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    config = arm(iterations=3)
    prepare = Repaint.prepare

    def poisoned(self: Repaint, rollout: Rollout) -> Any:
        rollout.reward[1, 3] = np.nan
        return prepare(self, rollout)

    monkeypatch.setattr(Repaint, "prepare", poisoned)
    agent, curves = train_arm(config, reacher_task(), teacher())
    assert list(curves.reasons) == [1]
    assert agent.failed.tolist() == [False, True]
    assert len({row[0] for row in curves.scores}) == 3
    assert len({row[1] for row in curves.scores}) == 1


# --- teachers that cannot teach


def test_teachers_that_do_not_fit_are_refused_by_name() -> None:
    task = reacher_task()
    with pytest.raises(UsageError, match="learns from a teacher, and there is none"):
        train_arm(arm(), task)
    narrow = Teacher.of(ppo_on_features(PPOConfig(hidden=(4,)), 7, [0], dimensions=2))
    with pytest.raises(UsageError, match="sees 7 features and the student 10"):
        train_arm(arm(), task, narrow)
    choices = Teacher.of(ppo_on_features(PPOConfig(hidden=(4,)), 10, [0], actions=2))
    with pytest.raises(UsageError, match="one of 2 actions and the student 2 numbers"):
        train_arm(arm(), task, choices)
    with pytest.raises(UsageError, match=r"standard deviation of 0\.01, below 0\.02"):
        train_arm(arm("ks"), task, teacher(0.01))


def test_a_teacher_goes_through_a_file_and_damage_is_told(tmp_path: Path) -> None:
    its, path = teacher(), tmp_path / "teacher.npz"
    its.save(path)
    z = np.random.default_rng(0).standard_normal((2, 5, 10)).astype(np.float32)
    np.testing.assert_array_equal(load_teacher(path).act(z), its.act(z))
    assert load_teacher(path).steps == 1000
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="holds no teacher: it is damaged or another kind of file") as told:
        load_teacher(path)
    assert "student-N.npz" in str(told.value.hint), "and not that training begins anew"
    save_checkpoint(path, "another format", {})
    with pytest.raises(DataError, match="belongs to other settings"):
        load_teacher(path)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        load_teacher(tmp_path / "pickled.npy")
    with pytest.raises(DataError, match="there is no teacher"):
        load_teacher(tmp_path / "none.npz")
    bad = its.layers[0][0].clone()
    bad[0, 0] = torch.nan
    Teacher(((bad, its.layers[0][1]), *its.layers[1:]), "tanh", its.logarithm).save(path)
    with pytest.raises(DataError, match="not finite"):
        load_teacher(path)
    for changes in ({"logarithm": torch.zeros(3)}, {"mean": torch.zeros(9), "inverse": torch.ones(9)}, {"layers": its.layers[:1] * 2}):
        replace(its, **changes).save(path)
        with pytest.raises(DataError, match="do not fit each other"):
            load_teacher(path)
    replace(its, layers=()).save(path)
    with pytest.raises(DataError, match="has no layers"):
        load_teacher(path)
