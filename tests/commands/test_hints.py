"""Every command that the code can print is one that the command line knows: its name, its options, and no more words than it takes.

Hints are read from the source, so that one which no test provokes is looked at too. What only a run knows stands as WORD.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from layerscout.cli import application

SOURCE = Path(__file__).parents[2] / "layerscout"
PROSE = {  # what may follow the program's name in a sentence
    *("that", "version", "itself", "or", "looks", "takes", "scales", "knows", "names", "wrote", "is", "needs", "as"),
    *("apv", "teacher"),  # names of file formats
}
UNKNOWN = "WORD"


def text_of(node: ast.AST) -> str | None:
    """A string of the source, with WORD for what a run puts into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values)
    return None


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def sentences() -> list[tuple[str, str]]:
    """Every string that names a command, but docstrings."""
    found = []
    for name, tree in sources():
        within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part is not node}
        bodies = (node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
        docs = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
        for node in ast.walk(tree):
            text = None if id(node) in within | docs else text_of(node)
            found += [(f"{name}:{node.lineno}", text)] if text and re.search(r"layerscout [a-z]", text) else []
    return found


def calls_of_shell() -> list[tuple[str, list[str]]]:
    """The words of every ``shell(...)``, which quotes a command; words that come in lists are left out."""
    found = []
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "shell":
                words = [text_of(part) or UNKNOWN for part in node.args if not isinstance(part, ast.Starred)]
                found += [(f"{name}:{node.lineno}", words)] if words and words[0] != UNKNOWN else []
    return found


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(application())


def command_of(root: Any, words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words after its name."""
    command, rest = root, list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    return command, rest


def unknown_options(command: Any, words: list[str]) -> list[str]:
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    return [word for word in words if word.startswith("-") and word not in known]


def test_every_sentence_names_commands_and_options_that_exist(root: Any) -> None:
    found = sentences()
    assert len(found) > 60
    wrong = []
    for where, text in found:
        for said in re.split(r"(?=\blayerscout [a-z])", text)[1:]:
            words = [word.rstrip(".:") for word in re.split(r"[\s`|),…]+", re.split(r"[;\n]", said)[0])[1:] if word != "-->"]
            command, rest = command_of(root, words)
            if command is root:
                wrong += [] if words[0] in PROSE else [f"{where}: no command '{words[0]}' in {text!r}"]
                continue
            wrong += [f"{where}: {command.name} has no {option} in {text!r}" for option in unknown_options(command, rest)]
    assert wrong == []


def test_every_quoted_command_is_parsed_without_a_usage_error(root: Any) -> None:
    found = calls_of_shell()
    assert len(found) > 40
    wrong = []
    for where, words in found:
        command, rest = command_of(root, words)
        if command is root or (
            getattr(command, "commands", None) and not getattr(command, "invoke_without_command", False) and UNKNOWN not in rest
        ):
            wrong.append(f"{where}: no command {' '.join(words)}")
            continue
        if getattr(command, "commands", None) and rest and rest[0] == UNKNOWN:  # which of a group only a run knows
            continue
        wrong += [f"{where}: {' '.join(words)}: no option {option}" for option in unknown_options(command, rest)]
        most = sum(999 if one.nargs < 0 else one.nargs for one in command.params if one.param_type_name == "argument")
        try:
            left = command.make_parser(command.make_context(command.name, [], resilient_parsing=True)).parse_args(list(rest))[1]
        except Exception as error:
            wrong.append(f"{where}: {' '.join(words)}: {error}")
            continue
        wrong += [f"{where}: {' '.join(words)}: {len(left)} words, and {command.name} takes {most}"] if len(left) > most else []
    assert wrong == []


def test_a_command_ends_its_sentence_so_that_a_line_can_be_pasted_from_there_on() -> None:
    """Whatever a hint says beside its command stands before it; two commands in order are joined by ``&&``."""
    broken = []
    for name, tree in sources():
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            commands = [isinstance(part, ast.FormattedValue) and ast.unparse(part.value).startswith("shell(") for part in parts]
            for part, after, is_command in zip(parts, [*parts, None][1:], commands, strict=True):
                text = after.value if isinstance(after, ast.Constant) else ""
                broken += [f"{name}:{part.lineno}: {text!r}"] if is_command and text not in ("", "\n", " && ") else []
    assert broken == []


def test_a_wrong_command_would_be_seen(root: Any) -> None:
    command, rest = command_of(root, ["store", "rm", "x", "--forever"])
    assert (command.name, unknown_options(command, rest)) == ("rm", ["--forever"])
    assert command_of(root, ["stores", "rm"])[0] is root
