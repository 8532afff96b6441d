"""A folder's name in, a study of one's own out: the ``init`` command, whose settings file explains every setting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from layerscout.commands.console import Call
from layerscout.commands.study.by_file import model_of
from layerscout.commands.words import command
from layerscout.errors import UsageError, shell
from layerscout.paths import expand

NAME = "study.toml"
HEAD = f"""# Which layer of a frozen video model is worth handing to an agent? In this folder, in this order:
#
#   layerscout collect --config {NAME}
#   layerscout extract --config {NAME}
#   layerscout extract tiny-untrained --config {NAME} --name untrained
#   layerscout probe --config {NAME}
#   layerscout train --config {NAME}
#   layerscout report .
#
# layerscout status tells what is done and what comes next; --preset small with every command but report is a first try.
# A line that begins with # is a default: take the # away to change it. Flags and --set win over this file.
"""
# what a study of its own says; the rest of a stage's settings follow as comments
CHOSEN: dict[str, dict[str, Any]] = {
    "collect": {"environment": "layerscout/Intercept-v0", "steps": 30_000, "out": "data.h5", "policy": "random:4"},
    "extract": {"backbone": "tiny", "data": "data.h5", "root": "stores", "name": "trained"},
    "probe": {"store": "trained", "twin": "untrained", "out": "probe", "root": "stores"},
    "train": {"environment": "layerscout/Intercept-v0", "selection": "probe/selection.json", "out": "train", "root": "stores"},
}
SMALL = """
# A first try, in less than a minute: layerscout collect --config study.toml --preset small
[presets.small.collect]
steps = 600
[presets.small.probe]
shifts = 5
[presets.small.train]
seeds = 2
updates = 100
evaluations = 1
final_episodes = 5
"""
WIDTH = 44  # characters before a comment


@command("layerscout init my-study")
def init(call: Call, folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=expand)] = Path("study")) -> None:
    """Begin a study: a folder with a commented settings file.

    The file explains every setting and is ready to run as it is; its first lines name the commands. What is there already is not touched.
    """
    file = folder / NAME
    if file.exists():
        raise UsageError(f"{file} is there already", hint=shell("status", folder))
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(settings_file(), encoding="utf-8")
    if not (ignored := folder / ".gitignore").exists():
        ignored.write_text("*.h5\n*.parts/\nstores/\n", encoding="utf-8")
    into = f"cd {shell(folder).removeprefix('layerscout ')} && "
    call.emit({"settings": str(file), "next": into + shell("collect", "--config", NAME)})


def settings_file() -> str:
    """Return the text of a settings file: every stage's table, every setting with what it means and its default."""
    tables = (f"\n[{stage}]\n" + "\n".join(_lines(model_of(stage), chosen)) + "\n" for stage, chosen in CHOSEN.items())
    return HEAD + "".join(tables) + SMALL


def _lines(model: Any, chosen: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield a line for every setting: those that are chosen first, then the others as comments, tables with dotted names."""
    fields = model.model_fields
    for name in (*(name for name in fields if name in chosen), *(name for name in fields if name not in chosen)):
        field = fields[name]
        default = field.get_default(call_default_factory=True)
        if hasattr(type(default), "model_fields"):
            yield from _lines(type(default), {}, f"{before}{name}.")
            continue
        said = f"{before}{name} = {_toml(chosen[name])}" if name in chosen else f"# {before}{name} = {_toml(default)}"
        yield f"{said:<{WIDTH}}  # {field.description}" if field.description else said


def _toml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return "{}" if isinstance(value, dict) else json.dumps(str(value), ensure_ascii=False)
