"""The worked example of the plan of an extraction gives what it shows."""

from __future__ import annotations

import doctest
from pathlib import Path

import frames_by_hand

from layerscout.extract import plan


def test_the_worked_example_of_a_plan_gives_what_it_shows(tmp_path: Path) -> None:
    data = frames_by_hand.write(tmp_path / "data.h5", frames_by_hand.random_episodes((4, 2)))
    known = dict(vars(plan)) | {"data": data, "root": tmp_path / "stores"}
    example = doctest.DocTestParser().get_doctest(plan.ExtractPlan.__doc__, known, "ExtractPlan", None, None)
    said: list[str] = []
    assert len(example.examples) > 3
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
