"""The worked examples in the docstrings of the central classes run, and give what they say."""

from __future__ import annotations

import doctest
import sys
import tempfile

import pytest

from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter


@pytest.mark.parametrize("example", [Store, StoreWriter], ids=lambda kind: kind.__name__)
def test_the_worked_example_gives_what_it_says(example, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    known = dict(vars(sys.modules[example.__module__]))
    parsed = doctest.DocTestParser().get_doctest(example.__doc__, known, example.__name__, None, None)
    assert len(parsed.examples) > 5
    told: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(parsed, out=told.append).failed == 0, "".join(told)
