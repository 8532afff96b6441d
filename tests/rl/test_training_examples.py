"""The worked examples of the central classes give what they show."""

from __future__ import annotations

import doctest
import inspect

import pytest
from by_hand import GRID, select

from layerscout.rl.agents.base import Agent
from layerscout.rl.comparison.groups import RunGroup
from layerscout.rl.config import TrainConfig
from layerscout.rl.plan import TrainPlan, plan
from layerscout.worlds.grid import Grid


@pytest.mark.parametrize("kind", [Agent, RunGroup, TrainPlan])
def test_a_worked_example_gives_what_it_shows(kind, small, synthetic_store, tmp_path) -> None:
    selection = select(tmp_path / "s.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    planned = plan(TrainConfig(environment=GRID, selection=selection, root=small.root, seeds=2))
    known = vars(inspect.getmodule(kind)) | {"selection": selection, "root": small.root, "planned": planned, "make_world": Grid}
    example = doctest.DocTestParser().get_doctest(kind.__doc__, known, kind.__name__, None, None)
    assert example.examples
    failed = doctest.DocTestRunner(verbose=False).run(example)
    assert failed.failed == 0
