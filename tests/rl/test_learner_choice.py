"""Which learner takes part when nobody says: decided by the data, told with its reason, and never against what was said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from by_hand import GRID, select, settings

from layerscout.rl.comparison.learners import ActionSpace
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.coverage import Coverage, coverage_of, coverage_of_policy, foreseen_by_looking
from layerscout.rl.learner_choice import CHOSEN, choose_learner
from layerscout.rl.plan import plan
from layerscout.rl.run import run

DISCRETE, CONTINUOUS = ActionSpace(3, 0), ActionSpace(0, 2)
RANDOM, MIXED = Coverage("random play", "all at random"), Coverage("expert-mixed", "some expert")


def asked(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"environment": GRID, "selection": "s.json"} | changes)


def choice(coverage: Coverage | None, actions: ActionSpace = DISCRETE, **changes: Any) -> Any:
    """Settle; a coverage of None must not be asked for."""
    return choose_learner(asked(**changes), actions, lambda: coverage or pytest.fail("the data were looked at and do not decide"))


def test_where_nothing_is_said_the_data_decide():
    mixed, random = choice(MIXED), choice(RANDOM)
    assert (mixed.config.algorithm, random.config.algorithm) == ("iql", "dqn")
    assert random.config.dqn.n_step == 8
    for one, part in ((mixed, "iql"), (random, "dqn")):
        assert {name: getattr(getattr(one.config, part), name) for name in CHOSEN[part]} == CHOSEN[part]
    assert mixed.reason.startswith("some expert; ")
    assert random.reason == "all at random; double Q-learning with returns 8 steps ahead"


@pytest.mark.parametrize("algorithm", ["dqn", "iql"])
def test_a_named_learner_stays_with_its_settings_as_they_are(algorithm):
    one = choice(None, algorithm=algorithm)
    assert one.config == asked(algorithm=algorithm)
    assert one.config.dqn.n_step == 1
    assert one.reason == "train.algorithm says so"


@pytest.mark.parametrize("part", ["dqn", "iql"])
def test_settings_of_one_learner_name_it(part):
    one = choice(None, **{part: {"batch": 32}})
    assert (one.config.algorithm, getattr(one.config, part)) == (part, getattr(asked(**{part: {"batch": 32}}), part))
    assert part in one.reason


def test_settings_of_both_leave_the_choice_to_the_data_and_only_what_was_not_said_is_filled():
    said = {"dqn": {"n_step": 3, "lr": 0.5}, "iql": {"batch": 7}}
    random, mixed = choice(RANDOM, **said).config, choice(MIXED, **said).config
    assert (random.dqn.n_step, random.dqn.lr, random.dqn.gamma) == (3, 0.5, CHOSEN["dqn"]["gamma"])
    assert (mixed.iql.batch, mixed.iql.hidden) == (7, CHOSEN["iql"]["hidden"])
    assert random.iql == asked(**said).iql


def test_elsewhere_the_kind_of_actions_decides():
    assert choice(None, CONTINUOUS).config.algorithm == "iql"
    assert choice(None, CONTINUOUS, mode="online").config.algorithm == "sac"
    assert choice(None, mode="online").config.algorithm == "dqn"
    assert choice(None, mode="online").config.dqn == asked().dqn, "n_step as the settings have it"


def test_what_was_settled_is_kept_and_settles_to_itself(tmp_path):
    """Settings are kept with the chosen learner and what was filled in, so that they say the same wherever they are read again."""
    selection = SimpleNamespace(model_dump_json=lambda: "")
    for coverage in (MIXED, RANDOM):
        once = choice(coverage, closed_form=True).config
        again = choose_learner(
            TrainConfig.model_validate(once.model_dump()), DISCRETE, lambda: pytest.fail("nothing is left to decide")
        ).config
        assert again == once
        assert comparison_key(again, selection) == comparison_key(once, selection)
    said, unsaid = choice(None, dqn={"n_step": 1}).config, choice(RANDOM).config
    assert comparison_key(said, selection) != comparison_key(unsaid, selection), "1 is the default of n_step, and whoever says so gets no 8"


@pytest.mark.parametrize(
    ("policy", "kind"),
    [("random", "random play"), ("random:4", "random play"), ("epsilon:0.6", "expert-mixed"), ("noise:0.3", "expert-mixed")],
)
def test_a_recorded_policy_says_what_it_covers(policy, kind):
    found = coverage_of_policy(policy)
    assert found is not None
    assert (found.kind, policy in found.sentence) == (kind, True)
    assert coverage_of_policy("a robot") is None


def recorded(expert: float, hold: int, episodes: int = 300, length: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Play of a world whose expert's action stands in the picture, as the last action does; the rest is noise."""
    rng = np.random.default_rng(0)
    features, actions = rng.normal(size=(episodes, length, 12)), np.zeros((episodes, length), dtype=int)
    for number in range(episodes):
        step = 0
        while step < length:
            advice = int(features[number, step, :3].argmax())
            own = rng.random() < expert
            for _ in range(1 if own else hold):
                if step < length:
                    actions[number, step] = advice if own else actions[number, step - 1] if _ else rng.integers(3)
                    step += 1
    features[:, 1:, 3:6] += 3 * np.eye(3)[actions[:, :-1]]
    actions[:, -1] = -1
    return features.reshape(-1, 12), actions.ravel(), np.repeat(np.arange(episodes), length)


@pytest.mark.parametrize("hold", [1, 4])
def test_an_expert_is_found_by_looking_and_held_random_actions_are_none(hold):
    gain, error = foreseen_by_looking(*recorded(expert=0.0, hold=hold))
    assert abs(gain) < 3 * error
    gain, error = foreseen_by_looking(*recorded(expert=0.4, hold=hold))
    assert gain > 3 * error


def test_too_few_rows_say_nothing():
    assert foreseen_by_looking(np.zeros((3, 2)), np.array([0, 1, -1]), np.zeros(3, int)) == (0.0, 0.0)


def test_a_store_that_names_no_policy_is_looked_at(synthetic_store):
    named = coverage_of(synthetic_store)
    policy = synthetic_store.manifest.provenance["dataset_attributes"]["policy"]
    assert named == coverage_of_policy(policy)
    manifest = SimpleNamespace(provenance={"dataset_attributes": {}})
    nameless = coverage_of(SimpleNamespace(id="ls1", manifest=manifest, layer=synthetic_store.layer, index=synthetic_store.index))
    assert "names no policy" in nameless.sentence
    assert nameless.kind == "random play", "sixty steps are too few to foresee anything"


def test_the_reason_stands_in_the_plan_and_in_the_record(tmp_path, small, synthetic_store):
    selection = select(tmp_path / "s.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    config = settings(selection, tmp_path / "out", small.root, scratch=False, updates=3)
    planned = plan(TrainConfig.model_validate(config.model_dump(exclude={"dqn", "iql", "sac"})))
    assert planned.describe()["algorithm_reason"] == planned.algorithm_reason
    assert (planned.algorithm, planned.resolved.iql.batch, planned.config.iql.batch) == ("iql", 64, 256)
    record = run(planned)
    assert (record.algorithm, record.algorithm_reason) == ("iql", planned.algorithm_reason)
    assert {arm.head for arm in record.arms} == {"mlp-64-64"}
