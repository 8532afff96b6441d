"""More seeds, arms and updates are trained beside what is there, bit for bit as if all had been asked for at once; the rest is refused by name."""

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


def test_fewer_arms_with_more_seeds_leave_the_others_as_they_are_until_they_are_asked_for_again(grid, tmp_path):
    """Two arms are taken further, then the two others: each pair by itself, and all of them go on."""
    out, more = tmp_path / "grown", {"random_layers": 2}
    run(plan(asked(grid, out, **more)))
    fewer = run(plan(asked(grid, out, seeds=3)))
    assert outcome(fewer) == outcome(run(plan(asked(grid, tmp_path / "fewer", seeds=3))))
    again, once = (run(plan(asked(grid, place, seeds=3, **more))) for place in (out, tmp_path / "once"))
    assert outcome(again) == outcome(once)
    assert [arm.name for arm in again.arms] == [arm.name for arm in once.arms]
    longer = [run(plan(asked(grid, place, seeds=3, updates=12, **more))) for place in (out, tmp_path / "longer")]
    assert outcome(longer[0]) == outcome(longer[1])


def test_settings_that_really_differ_are_named_with_a_command_that_keeps_both(grid, tmp_path):
    out = tmp_path / "out"
    run(plan(asked(grid, out, seeds=1)))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="holds results of other settings: updates is 6 there and 5 here") as raised:
        plan(asked(grid, out, updates=5))
    assert f"--out {out}-2" in raised.value.hint
    with pytest.raises(UsageError, match=r"other settings: updates is 6 there and 12 here, dqn\.batch is 8 there and 9 here"):
        plan(asked(grid, out, updates=12, dqn={**SMALL_DQN, "batch": 9}))
    with pytest.raises(UsageError, match="other settings: standardise is True there and False here"):
        plan(asked(grid, out, seeds=2, standardise=False))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / "mlp-16" / "result.json").unlink()
    with pytest.raises(UsageError, match="was begun with fewer runs and has not finished"):
        plan(asked(grid, out, seeds=2))
    (out / "mlp-16" / KEY_NAME).write_text("0" * 64)
    with pytest.raises(UsageError, match="another selection, or another version"):
        plan(asked(grid, out, seeds=1))


# --- more updates


def test_more_updates_go_on_as_if_all_had_been_asked_for_at_once(grid, tmp_path):
    """Of runs that were themselves added to others, with a network of its own and an agent in closed form; twice as many, then three times."""
    more = {"scratch": True, "closed_form": True, "evaluations": 2}
    out = tmp_path / "grown"
    run(plan(asked(grid, out, **more | {"seeds": 1})))
    run(plan(asked(grid, out, **more)))  # a second seed has files of its own
    planned = plan(asked(grid, out, updates=12, **more))
    assert (planned.goes_on_from, planned.describe()["goes_on_from"], planned.describe()["exists"]) == (6, 6, False)
    said: list[str] = []

    class Heard(Reporter):
        def say(self, message: str) -> None:
            said.append(message)

    grown, once = run(planned, Heard(quiet=True)), run(plan(asked(grid, tmp_path / "once", updates=12, **more)))
    assert any("go on from 6 to 12 updates" in line for line in said)
    assert outcome(grown) == outcome(once)
    assert [(arm.name, arm.budget.updates, arm.budget.flops) for arm in grown.arms] == [
        (arm.name, arm.budget.updates, arm.budget.flops) for arm in once.arms
    ]
    assert [one.evaluations[0][0] for one in grown.runs if "closed form" not in one.arm] == [6] * 6
    again = plan(asked(grid, out, updates=12, **more))
    assert again.goes_on_from == 0
    assert outcome(run(again)) == outcome(once)
    longer = {"updates": 36, "seeds": 3, "evaluations": 3}  # further, and more seeds at once
    assert outcome(run(plan(asked(grid, out, **more | longer)))) == outcome(run(plan(asked(grid, tmp_path / "third", **more | longer))))


def test_a_kill_while_learning_goes_on_changes_nothing(grid, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(plan(asked(grid, out, seeds=2, scratch=True)))
    wanted = outcome(run(plan(asked(grid, tmp_path / "once", updates=24, scratch=True))))
    from layerscout.rl import run as module

    trained = module._train
    calls = []

    def once(*given):
        calls.append(given)
        if len(calls) > 1:
            raise KeyboardInterrupt  # the first group has gone on, the second has not begun
        return trained(*given)

    monkeypatch.setattr(module, "_train", once)
    with pytest.raises(KeyboardInterrupt):
        run(plan(asked(grid, out, updates=24, scratch=True)))
    monkeypatch.setattr(module, "_train", trained)
    assert outcome(run(plan(asked(grid, out, updates=24, scratch=True)))) == wanted


def test_after_a_kill_while_learning_goes_on_fewer_arms_wait_until_all_have_gone_on(grid, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(plan(asked(grid, out, random_layers=1)))

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("layerscout.rl.run._train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(plan(asked(grid, out, updates=24, random_layers=1)))
    with pytest.raises(UsageError, match="has not finished") as raised:
        plan(asked(grid, out, updates=24))
    assert "finish it first: layerscout train" in raised.value.hint
    assert "--random-layers 1" in raised.value.hint
    run(plan(asked(grid, out, updates=24, random_layers=1)))
    assert outcome(run(plan(asked(grid, out, updates=24)))) == outcome(run(plan(asked(grid, tmp_path / "once", updates=24))))


def test_where_updates_cannot_go_on_it_says_why_and_what_can_be_asked_for(grid, tmp_path):
    out = tmp_path / "out"
    run(plan(asked(grid, out, random_layers=1)))
    with pytest.raises(
        UsageError, match="9 cannot go on from them: a run of 9 updates is evaluated after 4, where this one was not"
    ) as raised:
        plan(asked(grid, out, updates=9, random_layers=1))
    assert "so many updates can be gone on to: layerscout train" in raised.value.hint
    assert "--updates 12" in raised.value.hint
    with pytest.raises(UsageError, match="learned side by side with the others and is not asked for now"):
        plan(asked(grid, out, updates=12))
    (out / "mlp-16" / "learner.npz").unlink()
    with pytest.raises(UsageError, match="had learned was not kept") as raised:
        plan(asked(grid, out, updates=12, random_layers=1))
    assert f"--out {out}-2" in raised.value.hint


# --- more steps of agents that play

PLAYING = {
    "dqn": {"algorithm": "dqn", "dqn": {**SMALL_DQN, "n_step": 3}},
    "dqn whose oldest transitions have made room": {"algorithm": "dqn", "dqn": {**SMALL_DQN, "capacity": 30}},
    "ppo": {"algorithm": "ppo", "ppo": {"length": 8, "environments": 2, "batch": 8, "epochs": 1, "hidden": [8]}},
}


@pytest.mark.parametrize("learner", PLAYING)
def test_more_steps_go_on_as_if_all_had_been_asked_for_at_once(grid, tmp_path, learner):
    """Of runs that were themselves added to others, and of a network on the frames; games in the middle of an episode are played on."""
    more = PLAYING[learner] | {"mode": "online", "steps": 48, "cnn": True, "final_episodes": 3}
    out = tmp_path / "grown"
    run(plan(asked(grid, out, **more | {"seeds": 1})))
    run(plan(asked(grid, out, **more)))
    planned = plan(asked(grid, out, **more | {"steps": 96}))
    assert (planned.goes_on_from, planned.describe()["goes_on_from"], planned.describe()["exists"]) == (48, 48, False)
    said: list[str] = []

    class Heard(Reporter):
        def say(self, message: str) -> None:
            said.append(message)

    grown, once = run(planned, Heard(quiet=True)), run(plan(asked(grid, tmp_path / "once", **more | {"steps": 96})))
    assert any("go on from 48 to 96 steps" in line for line in said)
    assert outcome(grown) == outcome(once)
    assert [one.budget.model_copy(update={"wall_seconds": 0, "cpu_seconds": 0}) for one in grown.arms] == [
        one.budget.model_copy(update={"wall_seconds": 0, "cpu_seconds": 0}) for one in once.arms
    ]
    assert plan(asked(grid, out, **more | {"steps": 96})).goes_on_from == 0


def test_a_kill_while_more_steps_are_played_changes_nothing(grid, tmp_path, monkeypatch):
    more = PLAYING["dqn"] | {"mode": "online", "steps": 48, "checkpoint_updates": 10, "final_episodes": 3}
    monkeypatch.setattr("layerscout.rl.loops.learning.SPARING", 0)
    out = tmp_path / "out"
    run(plan(asked(grid, out, **more)))
    from layerscout.rl.loops import learning

    save = learning.checkpoint.save_checkpoint

    def die(path, *given):
        save(path, *given)
        if path.name.startswith("checkpoint"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning.checkpoint, "save_checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            run(plan(asked(grid, out, **more | {"steps": 96})))
    wanted = outcome(run(plan(asked(grid, tmp_path / "once", **more | {"steps": 96}))))
    assert outcome(run(plan(asked(grid, out, **more | {"steps": 96})))) == wanted


def test_steps_that_cannot_go_on_are_refused_by_the_setting_that_forbids_it(grid, tmp_path):
    more = PLAYING["ppo"] | {"mode": "online", "steps": 40, "final_episodes": 1}
    out = tmp_path / "ppo"
    run(plan(asked(grid, out, **more)))
    with pytest.raises(UsageError, match=r"within a rollout, which takes 16 steps \(ppo\.length 8 times ppo\.environments 2\)") as raised:
        plan(asked(grid, out, **more | {"steps": 80}))
    assert f"--out {out}-2" in raised.value.hint
    with pytest.raises(UsageError, match="steps is 40 there and 20 here"):
        plan(asked(grid, out, **more | {"steps": 20}))
    said: list[str] = []

    class Heard(Reporter):
        def say(self, message: str) -> None:
            said.append(message)

    more, out = PLAYING["dqn"] | {"mode": "online", "steps": 48, "most_kept": 0, "final_episodes": 1}, tmp_path / "dqn"
    run(plan(asked(grid, out, **more)), Heard(quiet=True))
    assert any("1 MB and is not kept" in line and "train.most_kept=1 " in line for line in said)
    with pytest.raises(UsageError, match=r"48 steps, and 96 cannot go on from them: what .* had learned was not kept") as raised:
        plan(asked(grid, out, **more | {"steps": 96}))
    assert f"--out {out}-2" in raised.value.hint
    with pytest.raises(UsageError, match="a run of 72 steps is evaluated after 36, where this one was not") as raised:
        plan(asked(grid, out, **more | {"steps": 72}))
    assert "--steps 96" in raised.value.hint


def test_what_is_not_kept_any_more_is_not_gone_on_from_again(grid, tmp_path, monkeypatch):
    """A replay that has outgrown the limit goes, and so does the smaller one of before: the same command then finds all done."""
    more, out = PLAYING["dqn"] | {"mode": "online", "steps": 24, "seeds": 1, "final_episodes": 1}, tmp_path / "out"
    run(plan(asked(grid, out, **more)))
    longer = more | {"steps": 48, "most_kept": 0}
    grown = run(plan(asked(grid, out, **longer)))
    assert not list(out.rglob("learner*"))
    monkeypatch.setattr("layerscout.rl.run._train", None)
    assert outcome(run(plan(asked(grid, out, **longer)))) == outcome(grown)


@pytest.mark.slow
def test_more_steps_in_the_loop_go_on_too(chosen, tmp_path):
    from training_by_hand import small_settings

    def at(steps, out):
        return run(plan(small_settings(chosen, out, "in-loop", steps=steps, seeds=1, scratch=False)))

    at(12, tmp_path / "grown")
    assert outcome(at(24, tmp_path / "grown")) == outcome(at(24, tmp_path / "once"))
