"""Nothing in, the commands that cannot be pasted out: the tutorial and the quick demo run, and every command that they print is run after them.

Collected are the ``next:`` lines, the command at the end of every hint, the commands on the pages and in the papers, and the hints of a few deliberate
mistakes. They run in the order in which they were printed, in the same folder, as a user would paste them. What holds a place for a word of the user's
own (in capital letters) is only checked to be a command that exists. A ``train`` that was offered before agents were trained with smaller settings is
tried as it was offered, where no agents are, and as a dry run: at full size it would take an hour. A study that is begun is followed by its own next lines to its
report. The commands fork from one process that has
imported everything (``tools.forking``); ``--real`` starts each as a user does.

    python -m tools.paste_everything            # everything; the demo takes minutes
    python -m tools.paste_everything --tutorial # the tutorial alone
    python -m tools.paste_everything --real     # every command a new program
"""

from __future__ import annotations

import argparse
import contextlib
import html
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools import forking

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"<!-- ci: run -->\n```sh\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"(?:^|: )((?:cd \S+ && )?layerscout [^\n]*)$")
PLACE = re.compile(r"\b[A-Z][A-Z_]+\b")  # STORE, FOLDER, NAME: a word that the user chooses
DEMO = "layerscout demo --preset quick --out first-look"
BEGUN = "layerscout init a-study"
STUDY = ("init", "collect", "extract", "extract", "probe", "train", "report")  # what a study that was begun comes to by its own next lines
LARGEST = {"report.html": 1_000_000, "probe.html": 400_000}  # bytes of a page that reads well
MISTAKES = (
    "layerscout extract outputs/data.h5 tiny",
    "layerscout probe outputs/data.h5",
    "layerscout probe nothing",
    "layerscout store info nothing",
    "layerscout store rm file:///nowhere/ls1-00000000",
    "layerscout report outputs/probe/ranking.json",
    "layerscout layers tyny",
    "layerscout init my-study && layerscout init my-study",
    "layerscout prob outputs",
)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a piece of shell in a folder, as somebody would who pastes it."""
    environment = os.environ | {"LAYERSCOUT_ROOT": str(folder / "root"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def printed(text: str) -> Iterator[str]:
    """Yield the commands that a command printed: what comes next, and what a hint ends with."""
    for line in text.splitlines():
        if line.startswith(("next: ", "hint: ")) and (match := COMMAND.search(line)):
            yield match[1]


def shown(folder: Path) -> Iterator[str]:
    """Yield the commands that pages and papers in a folder give."""
    for page in sorted(folder.rglob("*.html")):
        for block in re.findall(r"<pre[^>]*>(.*?)</pre>", page.read_text(encoding="utf-8"), re.DOTALL):
            yield from (line for line in html.unescape(block).splitlines() if line.startswith("layerscout "))
    for paper in sorted(folder.rglob("paper.md")):
        for block in re.findall(r"```sh\n(.*?)```", paper.read_text(encoding="utf-8"), re.DOTALL):
            yield from (line for line in block.splitlines() if line.startswith("layerscout "))


def collect(folder: Path, demo: bool) -> tuple[list[str], list[str]]:
    """Run the tutorial, the demo and the mistakes; return the commands that were printed, each once, and what failed on the way."""
    failures, found = [], []
    tutorial = "\n".join(MARKED.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")))
    for script in (tutorial, *([DEMO] if demo else [])):
        done = run(script, folder)
        if done.returncode:
            failures.append(f"{script.splitlines()[0]} …: exit code {done.returncode}: {done.stderr[-300:]}")
        found += printed(done.stdout + done.stderr)
    found += shown(folder)
    failures += [
        f"{page.relative_to(folder)} has {page.stat().st_size:,} bytes, more than {most:,}"
        for name, most in LARGEST.items()
        for page in folder.rglob(name)
        if page.stat().st_size >= most
    ]
    for mistake in MISTAKES:
        done = run(mistake, folder)
        if done.returncode in (0, 1):
            failures.append(f"{mistake}: exit code {done.returncode}, and it is a mistake")
        found += printed(done.stderr)
    return list(dict.fromkeys(found)), failures


def follow(folder: Path) -> tuple[list[str], list[str]]:
    """Begin a study and paste what each command names as the next, to the end; return the commands and what is wrong."""
    command, place, done = BEGUN, ".", []
    while len(done) < len(STUDY) and not command.startswith("layerscout status"):
        into, goes, command = command.rpartition(" && ")
        place = into.removeprefix("cd ") if goes else place
        command += " --preset small" if command.startswith("layerscout collect") else ""
        ended = run(f"cd {place} && {command}", folder)
        done.append(command)
        if ended.returncode:
            return done, [f"{command}: exit code {ended.returncode}: {ended.stderr.strip()[-300:]}"]
        command = next(printed(ended.stdout), "layerscout status")
    stages = tuple(shlex.split(one)[1] for one in done)
    return done, [] if stages == STUDY else [f"a study that was begun came to {', '.join(stages)}, not {', '.join(STUDY)}"]


def paste(command: str, folder: Path) -> str | None:
    """Run one command, or check that it exists where a word of the user's own is missing; return what is wrong."""
    if PLACE.search(re.sub(r"'[^']*'", "", command)):
        words = shlex.split(command.partition("&& ")[2] or command)[1:]
        words = words[:2] if words[0] == "store" else words[:1]
        command = shlex.join(["layerscout", *words, "--help"])
    if command.startswith("layerscout train ") and "--seeds" not in command:
        out = command.partition("--out ")[2].partition(" ")[0] or "outputs/train"
        command = f"mv {out} {out}.aside; {command} --dry-run; mv {out}.aside {out}"
    done = run(command, folder)
    return None if done.returncode == 0 else f"{command}: exit code {done.returncode}: {done.stderr.strip()[-300:]}"


def main() -> None:
    """Paste everything and end with 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tutorial", action="store_true", help="the tutorial alone, without the demo")
    parser.add_argument("--real", action="store_true", help="every command a new program, which takes longer")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not arguments.real:
            os.environ["PATH"] = f"{stack.enter_context(forking.programs())}{os.pathsep}{os.environ['PATH']}"
        commands, failures = collect(folder, demo=not arguments.tutorial)
        followed, unfinished = follow(folder)
        for command in commands:
            wrong = paste(command, folder)
            print(f"{'FAILED' if wrong else 'ok    '}  {command}", flush=True)
            failures += [wrong] if wrong else []
        for command in followed:
            print(f"{'FAILED' if unfinished and command == followed[-1] else 'ok    '}  {command}   (a study by its next lines)")
    commands, failures = commands + followed, failures + unfinished
    print(f"{len(commands)} commands, {len(failures)} failures")
    for failure in failures:
        print(f"  {failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
