"""What every benchmark shares: the two flags, one way to print figures against their bars, and the settings that figures of agents are ranges over."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
# torch's products are MKL's, which on an AMD processor takes no other instructions unless it is told to be compatible with all
SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Nehalem", "MKL_CBWR": "COMPATIBLE"}
# a name, its threads, and the instructions that torch, oneDNN, OpenBLAS and MKL are told
SETTINGS: dict[str, tuple[int, dict[str, str]]] = {
    "one thread": (1, {}),
    "two threads": (2, {}),
    "AVX2": (1, AVX2),
    "SSE": (1, SSE),
}


def environment_of(setting: str) -> dict[str, str]:
    """Return the variables that a process gets to compute in that setting; a thread that waits sleeps, for the machine may have other work."""
    threads, instructions = SETTINGS[setting]
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return counts | {"OMP_WAIT_POLICY": "PASSIVE"} | instructions


def threads_told() -> int:
    """Return how many threads torch gets: one, so that seconds compare, unless ``OMP_NUM_THREADS`` says another number, as a setting does."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def options(
    description: str | None,
    device: bool = False,
    cuda_graphs: bool = False,
    runs: int | None = None,
    results: Path | None = None,
    only: tuple[str, ...] = (),
) -> argparse.Namespace:
    """Read ``--quick`` and ``--json``; ``--device`` and ``--cuda-graphs`` where a benchmark runs on a GPU too, ``--runs`` and ``--results`` where it repeats, ``--only`` where it has parts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a shorter run, for continuous integration")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    if device:
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute")
    if cuda_graphs:
        parser.add_argument("--cuda-graphs", action="store_true", help="with --device cuda: also hold one update in a CUDA graph")
    if runs is not None:
        parser.add_argument("--runs", type=int, default=runs, help=f"only the first so many of {runs} runs")
        parser.add_argument("--results", type=Path, default=results, help="where each run is kept; those that are there are not made again")
    if only:
        parser.add_argument("--only", nargs="+", choices=only, help="these parts alone")
    return parser.parse_args()


def finish(
    name: str,
    packages: tuple[str, ...],
    figures: dict[str, Any],
    as_json: bool,
    at_least: dict[str, float] | None = None,
    at_most: dict[str, float] | None = None,
) -> None:
    """Print the figures, the bars and whether all hold. A figure is a number or a dict with median, min and max."""
    at_least, at_most = at_least or {}, at_most or {}
    holds = all(figures[key] >= bound for key, bound in at_least.items()) and all(figures[key] <= bound for key, bound in at_most.items())
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    if as_json:
        print(json.dumps({"name": name, "versions": versions, "figures": figures, "bars": at_least | at_most, "holds": holds}))
        return
    print(f"{name}: " + "  ".join(f"{package} {number}" for package, number in versions.items()))
    for key, value in figures.items():
        bar = f"   bar: at least {at_least[key]:g}" if key in at_least else f"   bar: at most {at_most[key]:g}" if key in at_most else ""
        if isinstance(value, dict):
            print(f"  {key:36} {value['median']:12.3f}   ({value['min']:.3f} to {value['max']:.3f}){bar}")
        else:
            print(f"  {key:36} {value:>12,.3f}{bar}" if isinstance(value, int | float) else f"  {key:36} {value}{bar}")
    print("  all bars hold" if holds else "  A BAR DOES NOT HOLD")


class Said:
    """Figures of gates that are judged one after the other, and their bars: printed as they come, or kept for one JSON object."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.figures: dict[str, Any] = {}
        self.bars: tuple[dict[str, float], dict[str, float]] = ({}, {})  # at least, at most

    def figure(self, name: str, value: float, note: str = "", at_least: float | None = None, at_most: float | None = None) -> bool:
        """Take a figure, what is to be known of it, and its bars; return whether they hold."""
        self.figures[name] = value
        holds, words = True, [note] if note else []
        for place, (kind, bound) in enumerate((("at least", at_least), ("at most", at_most))):
            if bound is not None:
                self.bars[place][name] = bound
                holds = holds and (value <= bound if place else value >= bound)
                words.append(f"{kind} {bound:g}")
        verdict = "" if at_least is None and at_most is None else "   holds" if holds else "   DOES NOT HOLD"
        if not self.as_json:
            print(f"{name:64} {value:9.3f}   {', '.join(words)}{verdict}".rstrip(), flush=True)
        return holds

    def tell(self, text: str) -> None:
        """Print a line that is talk and no figure."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def finish(self, name: str, packages: tuple[str, ...]) -> None:
        """Print the JSON object, where one was asked for."""
        if self.as_json:
            finish(name, packages, self.figures, True, *self.bars)
