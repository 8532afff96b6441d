"""Two checkouts are compared in turns, on the figures that each prints itself, and their ratio has an interval that tells a change from noise."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path

import compare_checkouts
import main_paths
import numpy as np
import pytest
from compare_checkouts import CPU, compare, figures_of, ratio_of

PROGRAM = """
import json, pathlib
log = pathlib.Path(__file__).parents[1] / "order"
log.write_text((log.read_text() if log.exists() else "") + {name!r})
print("some words first")
print(json.dumps({{"figures": {{"seconds": {{"median": {seconds}, "min": 0, "max": 9}}, {name!r}: {rate}}}}}))
"""


def checkout(folder: Path, name: str, seconds: float, rate: float) -> Path:
    made = folder / name
    made.mkdir()
    (made / "bench.py").write_text(PROGRAM.format(name=name, seconds=seconds, rate=rate), encoding="utf-8")
    return made


def test_figures_are_those_that_each_checkout_prints_and_turns_alternate(tmp_path: Path) -> None:
    before, after = checkout(tmp_path, "old", 2.0, 10.0), checkout(tmp_path, "new", 3.0, 5.0)
    found = compare(before, after, ["bench.py"], ["seconds", "old=new", CPU], 3)
    assert (found["seconds"].before, found["seconds"].after, found["seconds"].ratio) == (2.0, 3.0, pytest.approx(1.5))
    assert found["old"].ratio == pytest.approx(0.5)
    assert found[CPU].before > 0
    assert (tmp_path / "order").read_text(encoding="utf-8") == "oldnew" + "newold" + "oldnew"


def test_a_figure_that_is_not_printed_ends_with_those_that_are(tmp_path: Path) -> None:
    one = checkout(tmp_path, "old", 2.0, 10.0)
    with pytest.raises(SystemExit, match="printed no figure 'nothing', but cpu_seconds, old, seconds"):
        compare(one, one, ["bench.py"], ["nothing"], 1)


def test_cpu_seconds_are_those_of_the_process_alone(tmp_path: Path) -> None:
    work = "import time\nwhile time.process_time() < {}: pass"
    short, long = (figures_of(tmp_path, ["-c", work.format(seconds)])[CPU] for seconds in (0.05, 0.5))
    assert 0.3 < long - short < 0.9


def test_the_interval_holds_the_true_ratio_and_not_one_that_differs() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        busy = rng.uniform(1, 3, 8)  # slows both alike
        before, after = (busy * level * np.exp(0.02 * rng.standard_normal(8)) for level in (1.0, 1.1))
        found = ratio_of(before, after)
        held += found.low < 1.1 < found.high
        assert found.low > 1.0
    assert 180 <= held <= 199
    alone = ratio_of([2.0], [1.0])
    assert (alone.ratio, alone.low, alone.high) == (pytest.approx(0.5), None, None)
    assert math.isfinite(alone.before)


def test_without_a_command_it_says_what_to_put(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["compare_checkouts", "a", "b"])
    with pytest.raises(SystemExit):
        compare_checkouts.main()
    assert "put what Python is to run after --" in capsys.readouterr().err


def test_the_main_paths_of_this_checkout_can_be_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    for module, sizes in {
        "main_paths": {"LAYERS": 1, "WRITES": 1, "READS": 1, "DRAWS": 1, "EXTRACTIONS": 1, "FRAMES": 64, "PROBES": 1, "EPISODES": 20},
        "store_io": {"ROWS": 512},
        "probe_speed": {"WIDTH": 16},
    }.items():
        for name, value in sizes.items():
            monkeypatch.setattr(importlib.import_module(module), name, value)
    monkeypatch.setattr(main_paths, "STEPS", 63)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["main_paths"])
    main_paths.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert list(figures) == ["write", "read", "rows", "extract", "probe"]
    assert min(figures.values()) > 0
