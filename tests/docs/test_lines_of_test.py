"""What counts as a line of code when tests are weighed against source."""

from __future__ import annotations

import lines_of_test
import pytest


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", (0, 0)),
        ('"""Of the file."""\n\nimport os\n', (3, 1)),
        ("# why\nx = 1  # what\n", (2, 1)),
        ('def f():\n    """Say.\n\n    More.\n    """\n    return 1\n', (6, 2)),
        ('class A:\n    """A."""\n\n    text = """two\n    lines"""\n', (5, 3)),
        ("call(\n    1,\n\n    2,\n)\n", (5, 4)),
        ("async def f():\n    'Said.'\n", (2, 1)),
    ],
)
def test_docstrings_comments_and_blank_lines_are_no_code(source, expected):
    assert lines_of_test.lines(source) == expected


def test_a_folder_is_all_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "one.py").write_text("x = 1\n\n")
    (tmp_path / "inner" / "two.py").write_text('"""Two."""\ny = 2\n')
    (tmp_path / "no.txt").write_text("x\n")
    assert lines_of_test.of_folder(tmp_path) == (4, 2)
