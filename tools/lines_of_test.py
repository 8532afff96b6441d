"""Lines of Python of the package and of its tests in, how many of test there are for one of source out, by room.

    python -m tools.lines_of_test

Twice: of all lines, and of lines of code, which are those that are left without docstrings, comments and blank lines. A room is a folder of ``layerscout``, and its tests
are the folder of that name in ``tests``; tests that lie elsewhere (the documentation's, the browser's, whole runs) count for the project alone.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines(source: str) -> tuple[int, int]:
    """Return how many lines a file has, and how many of them hold code."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(source.splitlines()), len(code - documented)


def of_folder(folder: Path) -> tuple[int, int]:
    """Return both counts over all Python files of a folder."""
    counts = [lines(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.py"))]
    return sum(one for one, _ in counts), sum(code for _, code in counts)


def main() -> None:
    rooms = sorted(folder.name for folder in (ROOT / "layerscout").iterdir() if (ROOT / "tests" / folder.name).is_dir())
    print(f"{'room':10} {'source':>8} {'tests':>8} {'share':>6} {'code':>8} {'of tests':>8} {'share':>6}")
    for room in ("", *rooms):
        source, tests = (of_folder(ROOT / top / room) for top in ("layerscout", "tests"))
        columns = [f"{one:8,} {other:8,} {other / one:6.2f}" for one, other in zip(source, tests, strict=True)]
        print(f"{room or 'project':10} {' '.join(columns)}")


if __name__ == "__main__":
    main()
