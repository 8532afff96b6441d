"""More seeds and more arms are trained beside what is there, bit for bit as if all had been asked for at once; the rest is refused by name."""

from __future__ import annotations

import pytest
from by_hand import SMALL_DQN, select, settings

from layerscout.errors import UsageError
from layerscout.progress import Reporter
from layerscout.rl.config import KEY_NAME
from layerscout.rl.run import plan, run


@pytest.fixture(scope="module")
def grid(tmp_path_factory, small, synthetic_store):
    path = tmp_path_factory.mktemp("selection") / "selection.json"
    select(path, ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    return path, small.root


def asked(grid, out, **more):
    return settings(grid[0], out, grid[1], **({"scratch": False, "updates": 6, "seeds": 2} | more))


def outcome(record):
    return [(one.arm, one.seed, one.returns, one.evaluations, one.final) for one in record.runs]


def test_more_seeds_and_arms_are_added_as_if_all_had_been_asked_for_at_once(grid, tmp_path):
    first = run(plan(asked(grid, tmp_path / "grown")))
    trained = []

    class Heard(Reporter):
        def task(self, name, *more):
            trained.append(name)
            return super().task(name, *more)

    grown = run(plan(asked(grid, tmp_path / "grown", seeds=3, random_layers=1)), Heard(quiet=True))
    assert [name for name in trained if name.startswith("train")] == [
        "train mlp-16 (3 runs, offline)",
        "train mlp-16 (2 runs, offline)",
    ]
    at_once = run(plan(asked(grid, tmp_path / "once", seeds=3, random_layers=1)))
    assert outcome(grown) == outcome(at_once)
    assert [arm.name for arm in grown.arms] == [arm.name for arm in at_once.arms]
    assert outcome(first) == [one for one in outcome(grown) if one[1] < 2 and one[0] in {arm.name for arm in first.arms}]
    trained.clear()
    assert outcome(run(plan(asked(grid, tmp_path / "grown", seeds=3, random_layers=1)), Heard(quiet=True))) == outcome(grown)
    assert trained == []
    fewer = run(plan(asked(grid, tmp_path / "grown", seeds=3)))  # an arm that is no longer asked for is not deleted, and not reported
    assert {one.name for one in fewer.arms} == {one.name for one in first.arms}


def test_settings_that_really_differ_are_named_with_a_command_that_keeps_both(grid, tmp_path):
    out = tmp_path / "out"
    run(plan(asked(grid, out, seeds=1)))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="holds results of other settings: updates is 6 there and 7 here") as raised:
        plan(asked(grid, out, updates=7))
    assert f"--out {out}-2" in raised.value.hint
    with pytest.raises(UsageError, match=r"other settings: dqn\.batch is 8 there and 9 here") as raised:
        plan(asked(grid, out, dqn={**SMALL_DQN, "batch": 9}))
    with pytest.raises(UsageError, match="other settings: standardise is True there and False here"):
        plan(asked(grid, out, seeds=2, standardise=False))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / "mlp-16" / "result.json").unlink()
    with pytest.raises(UsageError, match="was begun with fewer runs and has not finished"):
        plan(asked(grid, out, seeds=2))
    (out / "mlp-16" / KEY_NAME).write_text("0" * 64)
    with pytest.raises(UsageError, match="another selection, or another version"):
        plan(asked(grid, out, seeds=1))
