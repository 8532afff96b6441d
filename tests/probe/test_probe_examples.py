"""The worked examples of the probe's central classes run as they are written."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
from committed import commit
from synthetic_layers import MemoryStore, columns_of


@pytest.mark.parametrize("where", ["layerscout.probe.moments.moments:Moments", "layerscout.probe.plan:ProbePlan"])
def test_the_worked_example_of_a_class_gives_what_it_shows(where: str, tmp_path: Path) -> None:
    name, kind = where.split(":")
    module = importlib.import_module(name)
    columns = columns_of([9] * 6, np.random.default_rng(0))
    store = commit(tmp_path, MemoryStore("made up", columns, {"blocks.0": np.zeros((60, 4), dtype=np.float32)}))
    known = dict(vars(module)) | {"root": tmp_path, "store_id": store.id}
    example = doctest.DocTestParser().get_doctest(getattr(module, kind).__doc__, known, kind, None, None)
    said: list[str] = []
    assert example.examples
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
