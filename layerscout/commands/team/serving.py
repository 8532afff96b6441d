"""Folders in, a server for a team out: ``layerscout serve``, and ``serve token`` for its users."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from layerscout.commands.console import Call
from layerscout.commands.words import USER_PATH, command
from layerscout.errors import DataError, UsageError, shell
from layerscout.paths import expand, expand_word
from layerscout.service.settings import ServeConfig


def _option(setting: str, flag: str, metavar: str, note: str = "") -> typer.models.OptionInfo:
    """Return an option whose help is the setting's own description."""
    description = (ServeConfig.model_fields[setting].description or "").rstrip(".")
    known: typer.models.OptionInfo = typer.Option(flag, metavar=metavar, help=f"{description}.{note}", show_default=False)
    return known


KEPT_IN = "layerscout-tokens.txt"
TokenFile = Annotated[Path | None, typer.Option("--token-file", **USER_PATH, help="File of users and the hashes of their tokens.")]
Roots = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="ROOT",
        parser=expand_word,
        help="Folder of stores, or a bucket's URL (repeat); left out: LAYERSCOUT_ROOT, or the user's cache.",
    ),
]
Runs = Annotated[list[Path] | None, typer.Option("--runs", **USER_PATH, help="Folder of results of probe, train and report (repeat).")]
Demo = Annotated[
    Path | None, typer.Option("--demo-out", **USER_PATH, help="With --demo: where the demo left its results. [default: outputs]")
]


@command("layerscout serve --root outputs/cache --runs outputs")
def serve(
    call: Call,
    root: Roots = None,
    runs: Runs = None,
    host: Annotated[str, _option("host", "--host", "ADDRESS", " [default: 127.0.0.1]")] = "127.0.0.1",
    port: Annotated[int, _option("port", "--port", "N", " [default: 8347]")] = 8347,
    jobs: Annotated[int, _option("jobs", "--jobs", "N", " [default: 1]")] = 1,
    memory: Annotated[str | None, _option("memory", "--memory", "SIZE")] = None,
    scheduler: Annotated[str | None, _option("scheduler", "--scheduler", "ADDRESS")] = None,
    token_file: TokenFile = None,
    allow_host: Annotated[list[str] | None, _option("allow_hosts", "--allow-host", "NAME", " [repeat]")] = None,
    probe_new: Annotated[
        bool, typer.Option("--probe-new", help="Probe every store that has no ranking yet, with the default settings.")
    ] = False,
    submissions: Annotated[int, _option("submissions", "--submissions", "N", " [default: 60]")] = 60,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve what `layerscout demo` left; where there is none, a quick one first.")
    ] = False,
    demo_out: Demo = None,
) -> None:
    """Serve stores and rankings to a team in the browser.

    A page and an API over folders of stores and of results: lists, rankings, comparisons, and jobs that anybody may submit. It answers to this
    machine alone unless users have tokens.
    """
    from layerscout import settings
    from layerscout.service.start import demo_places
    from layerscout.service.start import serve as listen

    places: tuple[tuple[str, ...], tuple[Path, ...]] = tuple(root or ()), tuple(runs or ())
    if demo:
        if root or runs:
            raise UsageError("--demo serves what the demo left, and other folders are named too", hint=shell("serve", "--demo"))
        places = demo_places(made_demo(demo_out or Path("outputs"), call))
    said = {"roots": places[0], "runs": places[1], "host": host, "port": port, "jobs": jobs, "memory": memory, "scheduler": scheduler}
    said |= {"token_file": token_file, "allow_hosts": tuple(allow_host or ()), "probe_new": probe_new, "submissions": submissions}
    listen(settings.build(ServeConfig, said, "serve"), lambda line: print(line, flush=True))


def made_demo(out: Path, call: Call) -> Path:
    """Return the folder of a demo; where none is there a quick one is made first, by a process of its own: a server never loads torch.

    Raises
    ------
    DataError
        The demo did not finish.
    """
    if not (out / "cache").is_dir():
        words = ("demo", "--preset", "quick", "--out", str(out), *(["-q"] if call.quiet else []))
        call.reporter().say(f"no demo is in {out} yet, so a quick one is made first, in minutes: {shell(*words)}")
        done = subprocess.run([sys.executable, "-m", "layerscout", *words], stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise DataError(f"the demo ended with exit code {done.returncode}, so there is nothing to serve", hint=shell(*words))
    return out


@command("layerscout serve token add ada --token-file tokens.txt")
def token(
    call: Call,
    what: Annotated[str, typer.Argument(metavar="add|rm|ls", help="Make a user's token, take it away, or list the users.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The user's name.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", **USER_PATH, help=f"File of users and the hashes of their tokens. [default: {KEPT_IN}]"),
    ] = None,
) -> None:
    """Make, take away and list the tokens of a server's users.

    The file keeps hashes only: a token is printed once, when it is made.
    """
    from layerscout.service.security.tokens import add_user, read_users, remove_user

    path = expand(token_file or KEPT_IN)
    if what == "ls":
        users = sorted(read_users(path)) if path.exists() else []
        call.emit({"file": str(path), "users": users}, "\n".join(users) or "no users")
        return
    if what not in ("add", "rm"):
        raise UsageError(
            f"a token can be added (add), taken away (rm) or listed (ls), not '{what}'", hint="layerscout serve token add NAME"
        )
    if name is None:
        raise UsageError("whose token?", hint=shell("serve", "token", what, "NAME"))
    if what == "rm":
        if not remove_user(path, name):
            raise UsageError(f"{path} has no user '{name}'", hint=shell("serve", "token", "ls", "--token-file", path))
        call.emit({"file": str(path), "removed": name}, f"{name} has no token any more")
        return
    made = add_user(path, name)
    call.emit(
        {"file": str(path), "user": name, "token": made}, f"{made}\n(the token of {name}; it is shown this once, and {path} has its hash)"
    )
