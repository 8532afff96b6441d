"""What stands beside the score equals its definition on plain matrices, and says nothing where there is nothing to say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from synthetic_layers import MemoryReader, columns_of, controllable_state, prepare, with_reward

from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.bits import bits
from layerscout.probe.evidence.evidence import LayerEvidence, measure
from layerscout.probe.evidence.measures import ALWAYS, BITS_LATER, bounds_of
from layerscout.probe.moments.moments import accumulate
from layerscout.probe.questions.outcomes import HORIZON, RewardsAhead, find_outcomes
from layerscout.probe.questions.rewards import return_to_go
from layerscout.probe.ranking.score import layer_score
from layerscout.probe.solve.scaling import feature_scaling, standardise

EPISODES, STEPS, WIDTH = 60, 24, 6


def world(actions: int = 3) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A layer that sees a state; the action pays where the state's first number and the action agree."""
    rng = np.random.default_rng(0)
    columns = columns_of([STEPS] * EPISODES, rng, actions=actions)
    state = controllable_state(columns, 4, rng, memory=0.6)
    wanted = np.digitize(state[:, 0], np.quantile(state[:, 0], np.arange(1, actions) / actions))
    reward = (columns["action"] == wanted) + 0.3 * rng.standard_normal(len(state))
    layer = np.hstack([state @ rng.standard_normal((4, WIDTH)), rng.standard_normal((len(state), 2))])
    columns = with_reward(columns, reward) | {"state": state.astype(np.float32), "expert_action": wanted.astype(np.int32)}
    return layer.astype(np.float32), columns, state


def measured(layer: np.ndarray, columns: dict[str, np.ndarray], **settings: object) -> LayerEvidence:
    config = ProbeConfig(store="memory", precision="float64", **settings)
    transitions, split = prepare(columns, config)
    reader = MemoryReader(layer)
    moments = accumulate("z", reader, transitions, split, "float64")
    return measure("z", "layer", 0, moments, transitions, split, config, reader=reader)


@pytest.fixture(scope="module")
def found() -> LayerEvidence:
    return measured(*world()[:2])


def out_of_fold(x: np.ndarray, y: np.ndarray, fold: np.ndarray, penalty: float, scaled: bool = True) -> np.ndarray:
    predicted = np.empty(y.shape)
    for one in range(fold.max() + 1):
        train, test = fold != one, fold == one
        ridge = Ridge(alpha=penalty * train.sum())
        model = make_pipeline(StandardScaler(), ridge) if scaled else ridge
        predicted[test] = model.fit(x[train], y[train]).predict(x[test])
    return predicted


def problem(**settings: object) -> tuple:
    layer, columns, _ = world()
    config = ProbeConfig(store="memory", **settings)
    transitions, split = prepare(columns, config)
    group = split.group_of_episode[transitions.episode]
    fold = split.fold_of_group[group]
    ranks = fold >= 0
    z = layer.astype(np.float64)
    return transitions, split, ranks, fold[ranks], group[ranks], z[transitions.row[ranks]], z[transitions.row[ranks] + 1]


def test_shallow_figures_are_those_of_scikit_learn_at_a_penalty_of_1(found: LayerEvidence) -> None:
    transitions, _, ranks, fold, group, now, _ = problem()
    scalars, names = np.asarray(transitions.scalars)[ranks], transitions.target_names
    for name, words in (("reward", "reward R² at λ = 1"), ("reward, 4 steps", "reward R², 4 steps at λ = 1")):
        y = scalars[:, names.index(name)]
        predicted = out_of_fold(now, y, fold, 1.0)
        assert found.measures[words].value == pytest.approx(r2_score(y, predicted), abs=1e-6)
        left = [r2_score(y[group != one], predicted[group != one]) for one in range(20)]
        np.testing.assert_allclose(found.measures[words].left, left, atol=1e-6)
    y = scalars[:, [column for column, name in enumerate(names) if name == "state"]]
    expected = r2_score(y, out_of_fold(now, y, fold, 1.0))
    assert found.measures["state R² at λ = 1"].value == pytest.approx(expected, abs=1e-6)


def test_the_expert_is_named_as_often_as_by_scikit_learn(found: LayerEvidence) -> None:
    transitions, _, ranks, fold, _, now, _ = problem()
    expert = [column for column, name in enumerate(transitions.target_names) if name == "expert_action"]
    y = np.asarray(transitions.scalars)[ranks][:, expert]
    hits = out_of_fold(now, y, fold, 1.0).argmax(axis=1) == y.argmax(axis=1)
    assert found.measures["expert action accuracy"].value == pytest.approx(hits.mean(), abs=1e-9)
    assert found.measures["expert action R²"].value == found.targets["expert_action"].r2


def test_inverse_dynamics_is_the_ridge_from_both_rows(found: LayerEvidence) -> None:
    transitions, _, ranks, fold, _, now, after = problem()
    actions = np.asarray(transitions.inputs)[ranks]
    scaled = StandardScaler().fit(now)
    values, vectors = np.linalg.eigh(np.corrcoef(now.T))
    turn = vectors / np.sqrt(np.maximum(values, 1e-4))
    x = np.hstack([scaled.transform(now) @ turn, scaled.transform(after) @ turn])
    predicted = out_of_fold(x, actions, fold, 1e-3, scaled=False)
    assert found.measures["inverse dynamics R²"].value == pytest.approx(r2_score(actions, predicted), abs=1e-6)
    hits = predicted.argmax(axis=1) == actions.argmax(axis=1)
    assert found.measures["inverse dynamics accuracy"].value == pytest.approx(hits.mean(), abs=1e-9)
    assert hits.mean() > 0.5


def test_the_outcome_of_an_action_is_its_advantage_over_the_mean_of_its_step() -> None:
    rng = np.random.default_rng(1)
    transitions, _, ranks, *_ = problem()
    outcomes = transitions.scalars.outcomes
    codes, step = np.asarray(transitions.inputs).argmax(axis=1), np.tile(np.arange(STEPS), EPISODES)
    reward = world()[1]["reward"][transitions.row].astype(np.float64)
    total = return_to_go(reward, transitions.episode, 1.0)
    mean = np.array([total[ranks & (step == one)].mean() for one in range(STEPS)])
    share = np.bincount(codes[ranks]) / ranks.sum()
    psi = ((codes[:, None] == np.arange(3)) / share - 1) * (total - mean[step])[:, None]
    rows = rng.choice(len(codes), 50, replace=False)
    np.testing.assert_allclose(outcomes.values(rows)[:, :3] * outcomes.scale[0], psi[rows], rtol=1e-5, atol=1e-5)
    assert np.mean(psi[ranks].std(axis=0) ** 2) == pytest.approx(outcomes.scale[0] ** 2, rel=0.02)
    ahead = RewardsAhead(reward, transitions.episode, HORIZON, 0.9).values(slice(0, len(reward)))
    same = [
        np.sum(0.9 ** np.arange(8)[: STEPS - at] * reward[row : row + 8][: STEPS - at]) for row, at in zip(rows, step[rows], strict=True)
    ]
    np.testing.assert_allclose(ahead[rows], same)


def test_advantage_is_seen_where_actions_pay_by_the_state_and_its_null_is_not(found: LayerEvidence) -> None:
    null, advantage = found.measures["advantage, by chance"], found.measures["advantage, 8 steps"]
    assert advantage.value > 0.1
    assert abs(null.value) < 0.03
    assert null.low < null.value < null.high < advantage.value
    lift, constant = (found.measures[name].value for name in ("advantage lift", "advantage lift, best constant action"))
    assert lift > constant + 0.3  # of a reward of 1 for the right action, 1/3 at random


def test_advantage_is_the_correlation_of_forecasts_with_outcomes_inside_folds(found: LayerEvidence) -> None:
    transitions, _, ranks, fold, _, now, _ = problem()
    first = transitions.target_names.index("outcome")
    psi = np.asarray(transitions.scalars)[ranks][:, first : first + 3]
    predicted = out_of_fold(now, psi, fold, 1.0)
    for one in range(5):
        for values in (psi, predicted):
            values[fold == one] -= values[fold == one].mean(axis=0)
    expected = np.sum(psi * predicted) / np.sqrt(np.sum(psi**2) * np.sum(predicted**2))
    assert found.measures["advantage"].value == pytest.approx(expected, abs=1e-6)


def test_bits_without_a_group_are_those_of_the_other_groups(found: LayerEvidence) -> None:
    layer, _columns, _ = world()
    transitions, split, _, _, group, now, after = problem()
    moments = accumulate("z", MemoryReader(layer), transitions, split, "float64")
    without = []
    for one in range(20):
        total, kept = moments.groups.pool(np.array([other for other in range(20) if other != one])), group != one
        z, n = now[kept] - moments.shift, after[kept] - moments.shift
        by = feature_scaling(total, moments.shift)
        without.append(bits(total, standardise(total, by), n.T @ n - z.T @ z, np.ones(layer.shape[1]), True).action)
    assert np.corrcoef(found.bits_action_left, without)[0, 1] > 0.95
    assert np.std(found.bits_action_left) == pytest.approx(np.std(without), rel=0.15)


@pytest.mark.parametrize(("steps", "name"), [(4, BITS_LATER[0]), (8, BITS_LATER[1])])
def test_later_bits_are_those_of_pairs_further_apart(found: LayerEvidence, steps: int, name: str) -> None:
    layer, _columns, _ = world()
    transitions, _, ranks, *_ = problem()
    row, last = transitions.row[ranks], np.tile(np.arange(STEPS), EPISODES)[ranks] + steps <= STEPS
    now, after = layer[row[last]].astype(float), layer[row[last] + steps].astype(float)
    actions = np.asarray(transitions.inputs)[ranks][last][:, :-1]

    def residual(y: np.ndarray, *x: np.ndarray) -> np.ndarray:
        inputs = np.hstack([np.ones((len(y), 1)), *x])
        return y - inputs @ np.linalg.lstsq(inputs, y, rcond=None)[0]

    logs = [np.linalg.slogdet(np.cov(residual(actions, *x).T))[1] for x in ((now,), (now, after))]
    width, freedom = layer.shape[1], len(now) - 1 - layer.shape[1] - 2
    plain = (logs[0] - logs[1]) / (2 * np.log(2)) - 2 * width / freedom / (2 * np.log(2))  # less its mean by chance, to first order
    assert found.measures[name].value == pytest.approx(plain, abs=0.01)


def test_a_rare_action_continuous_actions_and_constant_rewards_have_no_advantage_and_the_rest_stays() -> None:
    layer, columns, _ = world()
    rare = columns | {"action": np.where(columns["action"] == 0, np.where(columns["step"] % 23 == 1, 0, 1), columns["action"])}
    rng = np.random.default_rng(2)
    moves = np.where(columns["action"][:, None] < 0, np.nan, rng.standard_normal((len(layer), 2))).astype(np.float32)
    constant = columns | {"reward": np.where(columns["action"] < 0, np.nan, 1.0).astype(np.float32)}
    rare["action"][rare["step"] == 1] = np.where(rng.random(EPISODES) < 0.1, 0, 1)
    for changed in (rare, columns | {"action": moves}, constant):
        measures = measured(layer, changed, shifts=0).measures
        for name in ("advantage", "advantage, 8 steps", "advantage, by chance", "advantage lift", "advantage lift, best constant action"):
            assert measures[name] is None
        assert measures["inverse dynamics R²"] is not None
        assert (measures["reward R², 4 steps"] is None) == (changed is constant)
    assert measured(layer, columns | {"action": moves}, shifts=0).measures["inverse dynamics accuracy"] is None


def test_outcomes_do_not_depend_on_where_the_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    transitions, _, ranks, *_ = problem()
    rng = np.random.default_rng(0)
    reward, step = rng.standard_normal(len(transitions)), np.tile(np.arange(STEPS), EPISODES)
    total = return_to_go(reward, transitions.episode, 1.0)
    whole = find_outcomes(reward, total, transitions.episode, step, transitions.inputs, ranks, 1.0)
    monkeypatch.setattr("layerscout.probe.questions.outcomes.PART", 7)
    cut = find_outcomes(reward, total, transitions.episode, step, transitions.inputs, ranks, 1.0)
    np.testing.assert_allclose(cut.after, whole.after, rtol=1e-5, atol=1e-6)
    assert cut.scale == pytest.approx(whole.scale)


def test_every_measure_has_its_place_bounds_and_interval(found: LayerEvidence) -> None:
    assert set(ALWAYS) <= set(found.measures)
    kept = layer_score(found, (0.45, 0.45, 0.1), "clip", 48)
    for name, estimate in kept.measures.items():
        low, high = bounds_of(name)
        assert low <= estimate.low <= estimate.value <= estimate.high <= high, name
    assert 0 < kept.control_score.low < kept.control_score.value < kept.control_score.high <= 1


def test_measures_can_be_left_out() -> None:
    layer, columns, _ = world()
    found = measured(layer, columns, shifts=2, measures=False)
    assert found.measures == {}
    assert "outcome" not in prepare(columns, ProbeConfig(store="memory", measures=False))[0].target_names
