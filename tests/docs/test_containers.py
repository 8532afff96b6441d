"""Recipes and batch scripts: containers install what this checkout pins, and the scripts for SLURM do the whole job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import layerscout

ROOT = Path(__file__).parents[2]
DOCKER, APPTAINER = ROOT / "containers" / "Dockerfile", ROOT / "containers" / "layerscout.def"
SCRIPTS = ROOT / "examples" / "slurm"
SBATCH = """#!/usr/bin/env python3
import os, subprocess, sys
array, environment, script = range(1), dict(os.environ), sys.argv[-1]
directives = [line.split()[1] for line in open(script) if line.startswith("#SBATCH ")]
for option in [*directives, *sys.argv[1:-1]]:
    name, _, value = option.partition("=")
    if name == "--export":
        environment |= dict(part.split("=", 1) for part in value.split(",") if "=" in part)
    elif name == "--cpus-per-task":
        environment["SLURM_CPUS_PER_TASK"] = "1"
    elif name == "--array":
        first, last = map(int, value.split("-"))
        array = range(first, last + 1)
        environment["SLURM_ARRAY_TASK_COUNT"] = str(len(array))
for task in array:
    own = environment | ({"SLURM_ARRAY_TASK_ID": str(task)} if "SLURM_ARRAY_TASK_COUNT" in environment else {})
    done = subprocess.run(["bash", script], env=own)
    if done.returncode:
        sys.exit(done.returncode)
print("Submitted batch job 1")
"""


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile: continued lines joined, comments left out."""
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [(word.upper(), rest) for word, _, rest in (line.partition(" ") for line in lines.splitlines() if line.strip())]


def test_the_dockerfile_pins_cleans_up_and_does_not_run_as_root():
    found = instructions(DOCKER.read_text())
    assert found[0][0] == "FROM"
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", found[0][1])  # a release, never "latest"
    assert {word for word, _ in found} <= {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "USER", "ENV", "ENTRYPOINT", "CMD"}
    for word, rest in found:
        if "apt-get install" in rest:
            assert word == "RUN"
            assert all(
                part in rest
                for part in ("apt-get update ", "&& apt-get install", "--no-install-recommends", "-y", "rm -rf /var/lib/apt/lists/*")
            )
        if "pip install" in rest:
            assert "--no-cache-dir" in rest
            assert "-c constraints.txt" in rest
    users = [rest for word, rest in found if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert ("ENTRYPOINT", '["layerscout"]') in found


def test_both_recipes_install_extras_that_exist_for_a_python_that_is_supported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for recipe in (DOCKER, APPTAINER):
        text = recipe.read_text()
        (version,) = set(re.findall(r"python:(3\.\d+)-", text))
        assert f"Programming Language :: Python :: {version}" in project["classifiers"]
        extras = re.findall(r'EXTRAS="([^"]+)"', text) or re.findall(r"\.\[([a-z,-]+)\]", text)
        assert set(extras[0].split(",")) <= set(project["optional-dependencies"])


def test_the_apptainer_recipe_has_its_sections_in_a_shell_that_stops_at_errors():
    text = APPTAINER.read_text()
    assert text.startswith("Bootstrap: docker\nFrom: python:")
    assert re.findall(r"^%(\w+)", text, re.MULTILINE) == ["files", "post", "environment", "runscript", "test"]
    post = text.partition("%post\n")[2].partition("\n%")[0]
    assert post.strip().startswith("set -e")
    for section in ("post", "environment", "runscript", "test"):
        body = re.split(r"^%\w+\n", text, flags=re.MULTILINE)[["files", "post", "environment", "runscript", "test"].index(section) + 1]
        assert subprocess.run(["sh", "-n"], input=body, text=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="batch scripts are written for bash; runs wherever there is one")
def test_the_batch_scripts_do_the_job_under_a_stand_in_for_sbatch(small, tmp_path, quick_command):
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "sbatch").write_text(SBATCH.replace("/usr/bin/env python3", sys.executable))
    (commands / "sbatch").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{quick_command}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(layerscout.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }

    def submit(name: str, *options: str, **values: object) -> None:
        export = ",".join(["ALL", *(f"{key}={value}" for key, value in values.items())])
        done = subprocess.run(
            ["sbatch", *options, f"--export={export}", str(SCRIPTS / f"{name}.sbatch")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    root, out = tmp_path / "root", tmp_path / "probe"
    submit("extract", BACKBONE="synthetic", DATA=small.planes, ROOT=root, DEVICE="cpu", MORE="--name planes --rows-per-chunk 128")
    submit("probe", "--array=0-1", STORE="planes", ROOT=root, OUT=out, MORE="--shifts 2 --top-k 1")
    assert not (out / "ranking.json").exists()
    submit("probe", STORE="planes", ROOT=root, OUT=out, MORE="--shifts 2 --top-k 1")
    few = "--seeds 2 --updates 3 --evaluations 1 --final-episodes 2 --set dqn.batch=4 --no-scratch"
    submit("train", ENVIRONMENT="layerscout/Grid-v0", SELECTION=out / "selection.json", ROOT=root, OUT=tmp_path / "train", MORE=few)
    assert (tmp_path / "train" / "runs.json").is_file()
    failed = subprocess.run(["sbatch", str(SCRIPTS / "probe.sbatch")], env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert "which store" in failed.stderr


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sbatch")), ids=lambda path: path.name)
def test_a_batch_script_is_sound_to_the_shell_and_its_head_shows_how_it_is_submitted(script):
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text()
    assert "sbatch --" in text.partition("#SBATCH")[0]
    used = set(re.findall(r"\$\{(\w+):\?", text))
    assert all(f"{name}=" in text.partition("#SBATCH")[0] for name in used)
