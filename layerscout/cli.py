"""Words in, one call, words out: the ``layerscout`` command. Only the command that is asked for is imported."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from layerscout import __version__
from layerscout.commands.console import Call, heed_signals
from layerscout.errors import UsageError
from layerscout.misfits import in_our_words
from layerscout.processor import name_core_type

# word → module in layerscout.commands, and the command in it; the first line of its help
COMMANDS = {
    "demo": ("demo:demo", "The whole job on real pixels: collect to report, in minutes."),
    "collect": ("collect:collect", "Play with an exploratory policy and keep the episodes."),
    "import": ("importing:import_dataset", "Make a trajectory file of a dataset that others recorded."),
    "layers": ("layers:layers", "List a video model's layers without loading its weights."),
    "extract": ("extract:extract", "Run a frozen video model over a dataset, store every layer."),
    "probe": ("probe:probe", "Rank layers by what a linear map reads from them; no GPU."),
    "train": ("train:train", "Train agents on selected layers and controls, under one budget."),
    "transfer": ("transfer:transfer", "Train students with and without a teacher; count what it saves."),
    "report": ("report:report", "Write the pages of a run, or a study of several tasks."),
    "passport": ("passport:passport", "Show what a store keeps to run single blocks alone."),
    "study": ("study.study:study", "Run many tasks from one file: data to agents, then a study."),
    "init": ("study.init:init", "Begin a study: a folder with a commented settings file."),
    "status": ("study.status:status", "Tell what a folder of results holds, and what comes next."),
    "doctor": ("doctor:doctor", "Print what a bug report needs: versions, devices, GL, disk."),
}
STORE_COMMANDS = {
    "ls": ("stores.listing:ls", "List stores: what they hold, how large they are, what keeps them."),
    "info": ("stores.listing:info", "Show everything known about a store."),
    "verify": ("stores.listing:verify", "Read every file of a store and compare it with the manifest."),
    "rm": ("stores.deleting:rm", "Delete stores; what is pinned, named or in use is refused."),
    "prune": ("stores.deleting:prune", "Delete what killed processes left behind, and more on demand."),
    "pin": ("stores.naming:pin", "Keep stores from being deleted."),
    "unpin": ("stores.naming:unpin", "Let stores be deleted again."),
    "name": ("stores.naming:name", "Give a store a name that every command knows, or take one away."),
    "push": ("stores.sharing:push", "Publish a store for others; the same command continues."),
    "pull": ("stores.sharing:pull", "Bring a published store here; the same command continues."),
    "export": ("stores.exporting:export", "Write what other programs show of a store."),
}
PRETRAIN_COMMANDS = {
    "apv": ("pretrain.apv:apv", "APV: learn a model of videos without actions, for agents and probes."),
    "pvdr": ("pretrain.pvdr:pvdr", "PVDR: learn the dynamics of videos without actions, for planning."),
}
SERVE_COMMANDS = {
    "token": ("team.serving:token", "Make, take away and list the tokens of a server's users."),
}
SERVE = ("team.serving:serve", "Serve stores and rankings to a team in the browser.")  # itself a command, with commands of its own
GROUPS = {
    "pretrain": (PRETRAIN_COMMANDS, "Learn a model from videos, before anything is played."),
    "store": (STORE_COMMANDS, "List, check, share and delete the stores of a folder."),
}
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def application(words: Sequence[str] | None = None) -> typer.Typer:
    """Return the command line: every command by name, and ready to run the one that ``words`` ask for; all of them without words.

    Importing a command costs time, and asking for help must cost none: the other commands are names with one line of help.
    """
    asked = None if words is None else [word for word in words if not word.startswith("-")][:2]
    about = "Find the one layer of a frozen video model that is worth handing to a reinforcement-learning agent, and prove it."
    app = _typer(help=about)
    app.callback()(_root)
    _add(app, COMMANDS, "", None if asked is None else asked[:1])
    _add_serve(app, asked)
    for name, (commands, line) in GROUPS.items():
        group = _typer(help=line)
        _add(group, commands, f"{name} ", None if asked is None else asked[1:] if asked[:1] == [name] else ())
        app.add_typer(group, name=name)
    return app


def _typer(help: str) -> typer.Typer:
    # without markup: what is printed can be read in a log, and nothing in brackets vanishes
    return typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, context_settings=HELP, help=help)


def _add_serve(app: typer.Typer, asked: Sequence[str] | None) -> None:
    place, line = SERVE
    group = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, context_settings=HELP, help=line)
    if asked is None or asked[:1] == ["serve"]:
        module, _, name = place.partition(":")
        getattr(importlib.import_module(f"layerscout.commands.{module}"), name).begin(group, "serve")
    _add(group, SERVE_COMMANDS, "serve ", None if asked is None else asked[1:] if asked[:1] == ["serve"] else ())
    app.add_typer(group, name="serve")


def _add(app: typer.Typer, commands: dict[str, tuple[str, str]], before: str, asked: Iterable[str] | None) -> None:
    for word, (place, line) in commands.items():
        if asked is None or word in asked:
            module, _, name = place.partition(":")
            getattr(importlib.import_module(f"layerscout.commands.{module}"), name).add_to(app, before + word)
        else:
            app.command(word, help=line)(_absent)


def _absent() -> None:
    """The place of a command that was not asked for."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"layerscout {__version__}")
        raise typer.Exit()


def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def main(words: Sequence[str] | None = None) -> None:
    """Run one command and end the process: the entry point of ``layerscout``."""
    words = list(sys.argv[1:] if words is None else words)
    name_core_type()  # before numpy is loaded
    heed_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show R² still gets every number
    if not words or (len(words) == 1 and words[0] in GROUPS):
        words.append("--help")
    code = None
    # what goes wrong before a command begins, or in showing a help, ends like what goes wrong in one
    with Call(as_json="--json" in words, debug="--debug" in words).guarded():
        try:
            app = application(None if "_LAYERSCOUT_COMPLETE" in os.environ else words)
            code = app(args=words, prog_name="layerscout", standalone_mode=False)
        except typer.TyperException as error:  # words that no command knows
            where = getattr(getattr(error, "ctx", None), "command_path", _asked(words))
            raise UsageError(in_our_words(error.format_message()), hint=f"{where} --help") from None
    raise SystemExit(code or 0)


def _asked(words: Sequence[str]) -> str:
    """Return the command that is asked for, as far as it exists."""
    first, second = [*(word for word in words if not word.startswith("-")), "", ""][:2]
    inner = GROUPS[first][0] if first in GROUPS else SERVE_COMMANDS if first == "serve" else {}
    known = [first] if first in {*COMMANDS, *GROUPS, "serve"} else []
    return " ".join(["layerscout", *known, *([second] if second in inner else [])])


def __getattr__(name: str) -> Any:
    if name == "app":  # the whole command line, for tools that look at it
        return application()
    raise AttributeError(f"module 'layerscout.cli' has no attribute '{name}'")
