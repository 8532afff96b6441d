"""A function in, a command out: its settings become flags, and every command has the same common options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
import typer.core

from layerscout.commands.console import Call
from layerscout.paths import expand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class PlainCommand(typer.core.TyperCommand):
    """A command whose help names an argument in its user's word alone: no ``<list[str]>`` beside it."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        for one in self.params:
            if one.param_type_name == "argument":
                setattr(one, "display_type_rich", lambda ctx: None)  # noqa: B010


DOCS = "https://github.com/layerscout/layerscout/blob/main/docs"
METAVARS = {int: "N", float: "X", Path: "PATH"}

USER_PATH: dict[str, Any] = {"metavar": "PATH", "parser": expand}  # of every option that is a path
Root = Annotated[
    Path | None, typer.Option("--root", **USER_PATH, help="Folder of all stores; left out: LAYERSCOUT_ROOT, or the user's cache.")
]
SOURCES: dict[str, Any] = {
    "config": Annotated[Path | None, typer.Option("--config", **USER_PATH, help="TOML file with a table for each stage.")],
    "preset": Annotated[str | None, typer.Option("--preset", metavar="NAME", help="A [presets.NAME] table of that file.")],
    "set_": Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting: key=value or stage.key=value (repeat).")
    ],
}
COMMON: dict[str, Any] = {
    "dry_run": Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")],
    "measure": Annotated[bool, typer.Option("--measure", help="With --dry-run: also try out how long it will take.")],
    "as_json": Annotated[bool, typer.Option("--json", help="Print the result, or the error, as one JSON object.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show tracebacks.")],
}


@dataclass(frozen=True)
class Sources:
    """Where settings come from beside flags: ``--config``, ``--preset``, ``--set``."""

    file: Path | None = None
    preset: str | None = None
    assignments: tuple[str, ...] = ()

    def as_words(self) -> list[object]:
        """Return them as they were given, to be said again."""
        named = [("--config", self.file), ("--preset", self.preset), *(("--set", one) for one in self.assignments)]
        return [word for flag, value in named if value is not None for word in (flag, value)]


@dataclass(frozen=True)
class Command:
    """What typer needs to offer a command."""

    run: Callable[..., None]
    help: str
    example: str

    def add_to(self, app: typer.Typer, words: str) -> None:
        """Offer the command under its last word; ``words`` are all of them, without ``layerscout``."""
        app.command(words.split()[-1], cls=PlainCommand, help=self.help, epilog=self._epilog(words))(self.run)

    def begin(self, group: typer.Typer, words: str) -> None:
        """Let ``group`` without a command's name run this one, with its options and help."""

        def run(ctx: typer.Context, **said: Any) -> None:
            if ctx.invoked_subcommand is None:
                self.run(**said)

        own = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        run.__signature__ = inspect.Signature([own, *inspect.signature(self.run).parameters.values()])  # type: ignore[attr-defined]
        run.__annotations__ = {"ctx": typer.Context, **self.run.__annotations__}
        group.callback(invoke_without_command=True, help=self.help, epilog=self._epilog(words))(run)

    def _epilog(self, words: str) -> str:
        page = f"{DOCS}/reference/commands.md#layerscout-{words.replace(' ', '-')}"
        return f"\b\nExample:\n  {self.example}\nMore:\n  {page}"


def command(example: str, dry_run: bool = False, measure: bool = False, section: str = "") -> Callable[[Callable[..., None]], Command]:
    """Make a command of a function.

    A parameter that is annotated with a ``Config`` becomes one option a setting, and ``--config``, ``--preset`` and ``--set``; one
    annotated with ``Sources`` only the latter three; ``Call`` becomes ``--json``, ``--quiet``, ``--debug`` and, where the
    command has it, ``--dry-run``. Every other parameter is typer's own.

    Parameters
    ----------
    example
        One whole command that works, for the end of the help.
    dry_run
        Whether the command can say what it would do.
    measure
        Whether it can also try out how long that would take.
    section
        The table of its settings in a file; the function's name when it is left out.
    """

    def made(function: Callable[..., None]) -> Command:
        given = inspect.signature(function, eval_str=True).parameters
        names = {_role(kind.annotation): name for name, kind in given.items()}
        model = given[names["config"]].annotation if "config" in names else None
        parameters = [*setting_parameters(model)] if model else []
        parameters += [_parameter(name, kind.annotation, kind.default) for name, kind in given.items() if not _role(kind.annotation)]
        parameters += [_parameter(name, kind, None) for name, kind in SOURCES.items() if model or "sources" in names]
        has = {"dry_run": dry_run, "measure": measure}
        common = {name: kind for name, kind in COMMON.items() if has.get(name, True)}
        parameters += [_parameter(name, kind, False) for name, kind in common.items()]

        def run(**said: Any) -> None:
            call = Call(**{name: said.pop(name) for name in common})
            with call.guarded():
                given: dict[str, Any] = {names["call"]: call}
                sources = Sources(said.pop("config", None), said.pop("preset", None), tuple(said.pop("set_", None) or ()))
                if "sources" in names:
                    given[names["sources"]] = sources
                if model:
                    flags = {name: said.pop(name) for name in tuple(said) if name in model.model_fields}
                    given[names["config"]] = _resolve(model, section or function.__name__, sources, flags)
                function(**given, **said)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return Command(run, inspect.getdoc(function) or "", example)

    return made


def setting_parameters(model: Any) -> Iterator[inspect.Parameter]:
    """Yield a parameter for every setting that can be said in words: by its place, or as a flag of its own name. Tables cannot."""
    from layerscout.settings import Flag, Positional

    for name, field in model.model_fields.items():
        kind, several = _kind(field.annotation)
        if kind is None:
            continue
        choices = [str(choice) for choice in get_args(kind)] if get_origin(kind) is Literal else []
        place = next((mark for mark in field.metadata if isinstance(mark, Positional)), None)
        flag = next((mark.word for mark in field.metadata if isinstance(mark, Flag)), f"--{name.replace('_', '-')}")
        attributes: dict[str, Any] = {"help": _help(field, several and place is None), "show_default": False}
        if kind is bool:
            yield _parameter(name, Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", **attributes)], None)
            continue
        word = list[str] | None if several else str | None  # settings check their values themselves, from files and flags alike
        if place is not None:
            yield _parameter(name, Annotated[word, typer.Argument(metavar=place.metavar, **attributes)], None)
            continue
        attributes["metavar"] = "|".join(choices) or METAVARS.get(kind, "TEXT")
        attributes["autocompletion"] = (lambda words: lambda: words)(choices) if choices else None
        yield _parameter(name, Annotated[word, typer.Option(flag, **attributes)], None)


def _resolve(model: Any, section: str, sources: Sources, flags: dict[str, Any]) -> Any:
    from layerscout import settings

    said = {name: value for name, value in flags.items() if value != []}  # a flag that was not repeated even once
    return settings.resolve(model, section, file=sources.file, preset=sources.preset, assignments=sources.assignments, flags=said)


def _kind(annotation: Any) -> tuple[Any, bool]:
    """Return the plain type of a setting and whether it takes several values; no type for tables."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [_kind(part) for part in get_args(annotation) if part is not NoneType]
        return kinds[0]
    if get_origin(annotation) is tuple:
        return _kind(get_args(annotation)[0])[0], True
    if get_origin(annotation) is Literal:
        return annotation, False
    return (annotation, False) if annotation in (str, int, float, bool, Path) else (None, False)


def _help(field: FieldInfo, repeated: bool) -> str:
    description = (field.description or "").rstrip(".")
    default = field.get_default(call_default_factory=True)
    notes = ["repeat"] if repeated else []
    if not field.is_required() and default not in (None, ()):
        shown = (
            ", ".join(map(str, default))
            if isinstance(default, tuple)
            else "on"
            if default is True
            else "off"
            if default is False
            else default
        )
        notes.append(f"default: {shown}")
    return f"{description}. [{'; '.join(notes)}]" if notes else f"{description}."


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _role(annotation: Any) -> str:
    """Return which of the parameters that are not typer's own this is: call, sources, config, or none of them."""
    if annotation is Call or annotation is Sources:
        return "call" if annotation is Call else "sources"
    return "config" if isinstance(annotation, type) and hasattr(annotation, "model_fields") else ""
