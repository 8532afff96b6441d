"""Source files and their tests in, the changes that no test notices out: one small change at a time in a copy of the package.

A mutant differs from the source in one place: a comparison shifted or turned, + for -, and for or, a constant one higher, True for
False, min for max, a returned value replaced by None, a statement left out. A mutant is killed when the file's tests fail on it; one
that lives shows a law that no test states. Tests run against the copy, so the checkout stays as it is.

python -m tools.mutate layerscout/probe/ranking/score.py --tests tests/probe/test_score.py [--sample 40] [--seed 0] [--json]
python -m tools.mutate --plan [--file cache/manifest] [--sample 20] [--results mutants.jsonl]      the files and tests of PLAN
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

PLAN = {
    "layerscout/cache/manifest.py": ["tests/cache/test_manifest.py", "tests/cache/test_corruption.py"],
    "layerscout/cache/records/base.py": ["tests/cache/test_records.py"],
    "layerscout/cache/remote/transfer.py": ["tests/cache/test_remote.py", "tests/cache/test_transfer.py", "tests/cache/test_hub_place.py"],
    "layerscout/cache/writing/staging.py": ["tests/cache/test_staging.py", "tests/cache/test_writer.py"],
    "layerscout/probe/questions/targets.py": ["tests/probe/test_targets.py"],
    "layerscout/probe/questions/shuffling.py": ["tests/probe/test_shuffling.py"],
    "layerscout/probe/evidence/controls.py": ["tests/probe/test_controls.py"],
    "layerscout/probe/evidence/bits.py": ["tests/probe/test_controls.py", "tests/probe/test_bits_apart.py"],
    "layerscout/probe/ranking/compare.py": ["tests/probe/test_compare.py", "tests/probe/test_control_score.py"],
    "layerscout/probe/ranking/choose.py": ["tests/probe/test_choose.py"],
    "layerscout/report/numbers/statistics.py": ["tests/report/test_number_laws.py", "tests/report/test_statistics.py"],
    "layerscout/report/numbers/association.py": ["tests/report/test_number_laws.py", "tests/report/test_statistics.py"],
    "layerscout/report/numbers/over_tasks.py": ["tests/report/test_over_tasks.py"],
    "layerscout/report/numbers/reliability.py": ["tests/report/test_number_laws.py", "tests/report/test_over_tasks.py"],
    "layerscout/report/numbers/decisions.py": ["tests/report/test_number_laws.py", "tests/report/test_over_tasks.py"],
    "layerscout/report/numbers/comparing.py": ["tests/report/test_number_laws.py", "tests/report/test_comparing.py"],
    "layerscout/report/numbers/profiles.py": ["tests/report/test_number_laws.py", "tests/report/test_comparing.py"],
    "layerscout/report/numbers/speed.py": ["tests/report/test_number_laws.py", "tests/report/test_comparing.py"],
    "layerscout/report/numbers/curves.py": ["tests/report/test_number_laws.py", "tests/report/test_report.py"],
    "layerscout/report/numbers/summaries.py": ["tests/report/test_number_laws.py", "tests/report/test_report.py"],
}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
CHANGED = (ast.Compare, ast.BinOp, ast.BoolOp, ast.Constant, ast.UnaryOp, ast.Call, ast.Return, ast.Expr, ast.Raise, ast.AugAssign)
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
LIBRARIES = (
    "numpy",
    "hypothesis",
    "hypothesis.extra.numpy",
    "pydantic",
    "zarr",
    "h5py",
    "scipy.stats",
    "sklearn.linear_model",
    "dask.array",
    "rich.progress",
)
PLUGINS = ("xdist.plugin", "_hypothesis_pytestplugin")  # of pytest, that the tests need; others cost a second
SECONDS, WAIT = 120, 900  # of processor, and by the clock: a mutant that makes its tests run longer counts as killed


@dataclass(frozen=True)
class Mutant:
    """One changed source: where, what, and the whole text."""

    line: int
    change: str
    text: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a source text, in order of its place; texts and docstrings are left alone."""
    places = [place for place, node in enumerate(ast.walk(ast.parse(source))) if isinstance(node, CHANGED)]
    for place in places:
        for variant in (0, 1):
            tree = ast.parse(source)
            node = list(ast.walk(tree))[place]
            change = mutate(tree, node, variant)
            if change:
                yield Mutant(getattr(node, "lineno", 0), change, ast.unparse(ast.fix_missing_locations(tree)))


def mutate(tree: ast.AST, node: ast.AST, variant: int) -> str:
    """Change one node in place and say how; an empty string where there is nothing to change."""
    if variant == 1:
        return dropped(tree, node)
    if isinstance(node, ast.Compare):
        before = type(node.ops[0])
        node.ops[0] = SWAPS[before]()  # type: ignore[assignment]
        return f"{before.__name__} -> {SWAPS[before].__name__}"
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        before = type(node.op)
        node.op = SWAPS[before]()  # type: ignore[assignment]
        return f"{before.__name__} -> {SWAPS[before].__name__}"
    if isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes):
        return changed_constant(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.op = ast.UAdd()
        node.operand = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
        return "not dropped"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        before_name = node.func.id
        node.func.id = CALLS[before_name]
        return f"{before_name} -> {CALLS[before_name]}"
    if isinstance(node, ast.Return) and node.value is not None and not is_none(node.value):
        node.value = ast.Constant(None)
        return "return None"
    return ""


def changed_constant(node: ast.Constant) -> str:
    before = node.value
    if isinstance(before, bool):
        node.value = not before
    elif isinstance(before, int):
        node.value = before + 1
    elif isinstance(before, float):
        node.value = before * 1.5 if before else 1.0
    else:
        return ""
    return f"{before!r} -> {node.value!r}"


def dropped(tree: ast.AST, node: ast.AST) -> str:
    """Leave out a statement that is a call, a raise or an assignment to something that is there already."""
    if not isinstance(node, ast.Expr | ast.Raise | ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return ""
    for parent in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(parent, name, None)
            if isinstance(body, list) and node in body:
                body[body.index(node)] = ast.Pass()
                return f"{type(node).__name__.lower()} dropped"
    return ""


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def lives(file: Path, text: str, tests: list[str], copy: Path, first: bool = False) -> bool:
    """Whether the tests pass on a copy of the package in which ``file`` has another text.

    The tests run in a fork of this process, which has imported the libraries but nothing of the package, and find compiled what the ``first``
    run compiled: of the seconds that a test file takes to start, little is left.
    """
    target = copy / file
    before = target.read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            _become_the_tests(tests, copy, first)
        return _ended(child) == 0
    finally:
        target.write_text(before, encoding="utf-8")
        for compiled in target.parent.glob(f"__pycache__/{target.stem}.*"):
            compiled.unlink()  # its time and size may be those of the next mutant


def _become_the_tests(tests: list[str], copy: Path, first: bool) -> None:
    """Run the tests against the copy in this process, and end it with their exit code."""
    code = 70
    try:
        os.setpgid(0, 0)  # what the tests start ends with them
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in range(3):
            os.dup2(nowhere, handle)
        here = str(Path.cwd())
        # the checkout must not stand before the copy, or every mutant would live
        sys.path[:] = [str(copy), *(path for path in sys.path if path and os.path.realpath(path) != here)]
        os.environ |= {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "" if first else "1", "CI": "true"}
        sys.dont_write_bytecode = not first
        code = int(
            pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests])
        )
    finally:
        os._exit(code)


def _ended(child: int) -> int:
    """Wait for the child and return its exit code; one that takes too long is ended with all that it started."""
    latest = time.monotonic() + WAIT
    while time.monotonic() < latest:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def prepare(names: Sequence[str] = LIBRARIES) -> None:
    """Import what most tests import, once for all forks; one thread each, because threads do not survive a fork."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    for name in (*names, *PLUGINS):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert "layerscout" not in sys.modules


def tried(file: Path, tests: list[str], sample: int | None, seed: int) -> dict[str, object]:
    """Try the mutants of one file, all or a sample; the tests must pass on the file as it is, written out again by ``ast``."""
    source = file.read_text(encoding="utf-8")
    chosen = list(mutants(source))
    if sample is not None and sample < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, sample), key=lambda mutant: mutant.line)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree("layerscout", copy / "layerscout", ignore=shutil.ignore_patterns("__pycache__"))
        there = [test for test in tests if Path(test).exists()]
        if not there or not lives(file, ast.unparse(ast.parse(source)), there, copy, first=True):
            sys.exit(f"{file}: its tests {tests} do not pass, or are not there: nothing can be said about mutants")
        alive = [mutant for mutant in chosen if lives(file, mutant.text, there, copy)]
    survivors = [{"line": mutant.line, "change": mutant.change} for mutant in alive]
    return {"file": str(file), "mutants": len(chosen), "killed": len(chosen) - len(alive), "alive": survivors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="*", type=Path, help="source files")
    parser.add_argument("--tests", nargs="+", default=[], help="test files, or pytest's node ids, that must notice")
    parser.add_argument("--plan", action="store_true", help="the files of PLAN, each with its tests")
    parser.add_argument("--file", default="", help="with --plan: only the files whose path holds this")
    parser.add_argument("--sample", type=int, help="so many mutants a file, drawn by --seed (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--results", type=Path, help="append each file's result to this file of JSON lines, and leave out files that are in it"
    )
    chosen = parser.parse_args()
    work = [(Path(name), tests) for name, tests in PLAN.items() if chosen.file in name] if chosen.plan else []
    work += [(file, chosen.tests) for file in chosen.source]
    if not work:
        parser.error("name a source file with --tests, or --plan")
    before = chosen.results.read_text(encoding="utf-8").splitlines() if chosen.results and chosen.results.exists() else []
    done = {json.loads(line)["file"] for line in before}
    work = [(file, tests) for file, tests in work if str(file) not in done]
    prepare()
    results = []
    for file, tests in work:
        found = tried(file, tests, chosen.sample, chosen.seed)
        results.append(found)
        if chosen.results:
            with chosen.results.open("a", encoding="utf-8") as file_of_results:
                file_of_results.write(json.dumps(found) + "\n")
        if not chosen.json:
            print(f"{found['file']}: {found['killed']} of {found['mutants']} killed", flush=True)
            for mutant in found["alive"]:  # type: ignore[attr-defined]
                print(f"  line {mutant['line']}: {mutant['change']}", flush=True)
    if chosen.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
