"""The documentation keeps its word: its code runs, its commands and settings exist, its links lead somewhere."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import layerscout
from layerscout import registry
from layerscout.cache import records
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.records import goals as goal_records
from layerscout.cache.records import study as study_records
from layerscout.cache.records import transfer as transfer_records
from layerscout.cli import application
from layerscout.commands.study.tasks import StudyConfig
from layerscout.extract.backbones.pvdr import PvdrShape
from layerscout.extract.config import ExtractConfig
from layerscout.probe.config import ProbeConfig
from layerscout.probe.page.tables import COLUMNS
from layerscout.report.study.tables import STUDY_COLUMNS
from layerscout.report.tables import RETURNS_COLUMNS, SUMMARY_COLUMNS
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, RidgeConfig, SACConfig
from layerscout.rl.config import TrainConfig
from layerscout.rl.economics.config import EncoderConfig, LabourConfig
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.config import APVModelConfig, PretrainAPVConfig
from layerscout.rl.transfer.config import Sweep, TransferConfig
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig, PvdrConfig
from layerscout.worlds.config import CollectConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
ALONE = [page for page in PAGES if page.parent.name != "how-to"]  # those run one after another: test_how_to.py
SETTINGS = {
    "pretrain apv": "PretrainAPVConfig",
    "pretrain pvdr": "PretrainPvdrConfig",
}  # of commands whose settings are not called by their one word
RUN = "<!-- ci: run -->"  # on the line before a shell block: it is fast and small, and is run here
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page. ``marked``: the line before it asks for it to be run."""

    language: str
    code: str
    marked: bool


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text()
    found = [Block(match[2], match[3], text[: match.start()].rstrip(" ").endswith(RUN + "\n")) for match in FENCE.finditer(text)]
    return [block for block in found if block.language == language]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def environment(folder: Path, commands: Path) -> dict[str, str]:
    """A clean place for stores, the tested package, and a folder with the ``layerscout`` command."""
    return os.environ | {
        "PATH": f"{commands}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(layerscout.__file__).parents[1]),
        "LAYERSCOUT_ROOT": str(folder / "stores"),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def finish(command: list[str], folder: Path, seconds: int, commands: Path) -> None:
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        command, cwd=work, env=environment(folder, commands), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_blocks_of_a_page_run_without_a_warning(page: Path, tmp_path: Path, quick_command: Path) -> None:
    program = tmp_path / "page.py"
    program.write_text("\n\n".join(block.code for block in blocks(page, "python")))
    finish([str(quick_command / "page"), str(program)], tmp_path, 300, quick_command)


@pytest.mark.parametrize("page", [page for page in ALONE if any(block.marked for block in blocks(page, "sh"))], ids=name)
@pytest.mark.skipif(shutil.which("bash") is None, reason="shell blocks are written for bash; runs wherever there is one")
def test_the_marked_shell_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path, quick_command: Path) -> None:
    program = tmp_path / "page.sh"
    program.write_text("\n".join(block.code for block in blocks(page, "sh") if block.marked))
    finish(["bash", "-e", "-o", "pipefail", str(program)], tmp_path, 300, quick_command)


@pytest.mark.parametrize("script", sorted((ROOT / "experiments").glob("*.sh")), ids=name)
@pytest.mark.skipif(shutil.which("bash") is None, reason="experiments are bash scripts; runs wherever there is one")
def test_an_experiment_runs_from_data_to_report_in_its_quick_form(script: Path, tmp_path: Path, quick_command: Path) -> None:
    finish(["env", "TASKS=grid", "bash", str(script), "--preset", "quick"], tmp_path, 600, quick_command)
    results = tmp_path / "work" / "outputs" / script.stem
    page = next(path for path in (results / "report.html", results / "study" / "study.html") if path.is_file())
    assert page.stat().st_size > 10_000


def commands() -> dict[str, Any]:
    """Every command by its words: "probe", "store ls"."""
    found: dict[str, Any] = {}
    for command, group in typer.main.get_command(application()).commands.items():  # type: ignore[attr-defined]
        inside = getattr(group, "commands", {})
        found |= {f"{command} {inner}": part for inner, part in inside.items()}
        if not inside or group.invoke_without_command:
            found[command] = group
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_layerscout_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    known = {command: {option for parameter in found.params for option in parameter.opts} for command, found in commands().items()}
    for block in blocks(page, "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            for part in re.findall(r"\blayerscout +([a-z][^|&;)#]*)", line):
                command, *words = part.split()
                if f"{command} {words[0] if words else ''}" in known:
                    command = f"{command} {words.pop(0)}"
                assert command in known, f"{line}: no command '{command}'"
                options = {word.partition("=")[0] for word in words if word.startswith("-")} - {"--help", "-h"}
                assert options <= known[command], f"{line}: unknown {options - known[command]}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(FENCE.sub("", there.read_text()))}, f"{target}: no such heading"


def slug(heading: str) -> str:
    """The anchor that GitHub and mkdocs both give to a heading of plain words."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda match: match[1] or "", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize(
    "config",
    [
        *(
            CollectConfig,
            ImportConfig,
            PretrainAPVConfig,
            APVModelConfig,
            PretrainPvdrConfig,
            PvdrShape,
            PvdrConfig,
            ExtractConfig,
            ProbeConfig,
            TrainConfig,
            StudyConfig,
            TransferConfig,
            Sweep,
        ),
        *(DQNConfig, SACConfig, IQLConfig, RidgeConfig, DreamerConfig, LabourConfig, EncoderConfig),
    ],
    ids=lambda config: config.__name__,
)
def test_the_page_of_settings_has_every_setting_with_its_default(config: Any) -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+?) \|", section(DOCS / "reference" / "settings.md", config.__name__), re.MULTILINE))
    expected = {key: default(field) for key, field in config.model_fields.items()}
    assert rows == expected


def default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if value is PydanticUndefined else "a table" if isinstance(value, BaseModel) else f"`{shown(value)}`"


def shown(value: Any) -> str:
    return "[" + ", ".join(map(shown, value)) + "]" if isinstance(value, tuple) else str(value)


def section(page: Path, title: str) -> str:
    """The part of a page under the heading that ends in ``title``."""
    parts = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    return next((part for part in parts if part.partition("\n")[0].endswith(f"({title})")), "")


@pytest.mark.parametrize(
    "words",
    [
        *(tuple(kind.model_fields) for kind in (records.Ranking, records.LayerScore, records.Selection, records.Choice)),
        *(tuple(kind.model_fields) for kind in (records.RunRecord, records.Arm, records.Budget, records.Run, records.Cost)),
        *(tuple(kind.model_fields) for kind in vars(goal_records).values() if inspect.isclass(kind) and kind.__name__.startswith("Goal")),
        *(tuple(kind.model_fields) for kind in vars(study_records).values() if inspect.isclass(kind) and kind.__name__.startswith("Study")),
        *(
            tuple(kind.model_fields)
            for kind in vars(transfer_records).values()
            if inspect.isclass(kind) and kind.__name__.startswith("Transfer")
        ),
        STUDY_COLUMNS,
        COLUMNS,
        RETURNS_COLUMNS,
        SUMMARY_COLUMNS,
    ],
    ids=lambda words: f"{words[0]}-{len(words)}",
)
def test_the_page_of_formats_names_every_field_that_is_written(words: tuple[str, ...]) -> None:
    text = (DOCS / "reference" / "formats.md").read_text()
    assert [word for word in words if f"`{word}`" not in text] == []


def test_the_page_of_commands_has_every_command_option_and_built_in_name() -> None:
    text = (DOCS / "reference" / "commands.md").read_text()
    for command, found in commands().items():
        part = next(part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(f"layerscout {command}\n"))
        common = text.partition("## ")[0]
        settings = section(DOCS / "reference" / "settings.md", SETTINGS.get(command, f"{command.capitalize()}Config"))
        for option, setting in ((parameter.opts[0], parameter.name) for parameter in found.params if parameter.opts[0].startswith("--")):
            assert f"`{option}" in part + common or f"| `{setting}` |" in settings, f"layerscout {command} {option}"
    for kind in registry.REGISTRY.values():
        assert all(f"`{built_in}`" in text for built_in in kind)


def test_the_site_builds_offline_and_every_page_is_in_its_navigation(tmp_path: Path) -> None:
    # not --quiet: it drops warnings before --strict can count them
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {str(page.relative_to(DOCS)) for page in PAGES[1:]}
    for built in (tmp_path / "site").rglob("*.html"):
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', built.read_text()), f"{built} loads from the network"


def test_the_readme_gives_both_commands_on_one_line_each() -> None:
    codes = [block.code.strip() for block in blocks(ROOT / "README.md", "sh")]
    assert "pip install -c constraints.txt . && layerscout demo" in codes
    assert "pip install -c constraints.txt '.[test]' && pytest" in codes


def test_the_readme_of_the_package_has_no_link_that_leads_nowhere() -> None:
    """On a package index there is no repository around it; what stands in code is code."""
    absolute = runpy.run_path(str(ROOT / "setup.py"))["absolute_links"]
    text = absolute((ROOT / "README.md").read_text(encoding="utf-8"))
    targets = LINK.findall(FENCE.sub("", text))
    assert len(targets) > 20
    assert all(target.startswith("https://") for target in targets)
    assert "https://raw.githubusercontent.com/layerscout/layerscout/main/docs/pipeline.svg" in targets
    said = "[a](b.md) ![c](d.svg) [e](https://f) [g](#h) `[i](j.md)`\n```\n[k](l.md)\n```\n"
    pages, files = "https://github.com/layerscout/layerscout/blob/main/", "https://raw.githubusercontent.com/layerscout/layerscout/main/"
    assert absolute(said) == said.replace("(b.md)", f"({pages}b.md)").replace("(d.svg)", f"({files}d.svg)")
