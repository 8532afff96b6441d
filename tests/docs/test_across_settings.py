"""The tool that makes ranges: every setting's process is told its threads and instructions, and what comes out is lowest to highest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """import csv, json, os, sys
threads, other = int(os.environ["OMP_NUM_THREADS"]), os.environ.get("ATEN_CPU_CAPABILITY", "as it is")
seen = {"kept": {"threads": threads, "list": [0.5, -threads], "other": other, "here": sys.argv[1:], "none": None if threads == 2 else 1.5}, "left": 7}
if len(sys.argv) > 2:
    with open(sys.argv[1] + "/rows.csv", "w", newline="") as lines:
        csv.writer(lines).writerows([["arm", "seed", "return"], ["one", 0, threads], ["one", 1, "n/a" if threads == 2 else 3]])
else:
    print("what else it says"); print(json.dumps(seen))
"""


def measured(*words: object, folder: Path) -> tuple[subprocess.CompletedProcess[str], dict]:
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, ROOT / "benchmarks" / "across_settings.py", "--out", folder / "out.json", *words]
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    found = folder / "out.json"
    return answer, json.loads(found.read_text()) if found.is_file() else {}


def test_every_setting_is_told_to_its_process_and_figures_become_ranges(tmp_path):
    answer, found = measured("--keep", "^kept", sys.executable, tmp_path / "program.py", "{threads}", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert found["figures"] == {
        "kept.threads": {"lowest": 1, "highest": 2, "seen": [1, 2, 1, 1]},
        "kept.list.0": {"lowest": 0.5, "highest": 0.5, "seen": [0.5, 0.5, 0.5, 0.5]},
        "kept.list.1": {"lowest": -2, "highest": -1, "seen": [-1, -2, -1, -1]},
        "kept.none": {"lowest": 1.5, "highest": 1.5, "seen": [1.5, None, 1.5, 1.5]},
    }
    assert found["words"] == {"kept.other": ["as it is", "as it is", "avx2", "default"], "kept.here.0": ["1", "2", "1", "1"]}
    assert (
        found["settings"]["two threads"].items()
        >= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2").items()
    )
    assert found["settings"]["AVX2"].items() >= {"ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}.items()
    assert found["settings"]["SSE"].items() >= {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}.items(), "products are MKL's"
    assert "n/a in some" in answer.stdout


def test_settings_that_are_named_are_run_alone_and_in_their_order(tmp_path):
    named = ("--setting", "two threads", "--setting", "SSE")
    answer, found = measured(*named, "--keep", "threads|other", sys.executable, tmp_path / "program.py", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert list(found["settings"]) == ["two threads", "SSE"]
    assert found["figures"]["kept.threads"]["seen"] == [2, 1]
    assert found["words"] == {"kept.other": ["as it is", "default"]}


def test_several_commands_are_one_in_a_shell_and_share_their_folder(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    both = f"touch {{folder}}/made; echo talk; ls {{folder}}; {sys.executable} {tmp_path / 'program.py'} {{threads}}"
    answer, found = measured("--setting", "two threads", "--keep", "here|threads", "bash", "-c", both, folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert found["figures"]["kept.threads"]["seen"] == [2]


def test_figures_are_read_from_files_in_a_folder_of_each_run(tmp_path):
    read = ("--read", "{folder}/rows.csv", "--rows", "arm", "--rows", "seed")
    answer, found = measured(*read, sys.executable, tmp_path / "program.py", "{folder}", "file", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert {path: one["seen"] for path, one in found["figures"].items()} == {"one,0.return": [1, 2, 1, 1], "one,1.return": [3, None, 3, 3]}
    assert not Path(found["command"][0]).is_absolute()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((sys.executable, "-c", "import sys; sys.exit('a bar does not hold')"), "a bar does not hold"),
        ((sys.executable, "-c", "print('no figures')"), "no figures"),
        (("--read", "{folder}/rows.csv", sys.executable, "{program}", "{folder}", "file"), "two rows of the CSV are named 'one'"),
        ((), "say the command"),
    ],
)
def test_what_gives_no_figures_ends_with_what_it_printed(tmp_path, words, message):
    program = str(tmp_path / "program.py")
    answer, found = measured(*(program if word == "{program}" else word for word in words), folder=tmp_path)
    assert answer.returncode != 0
    assert message in answer.stderr
    assert found == {}


def test_what_was_kept_of_each_setting_becomes_ranges_and_items_go_by_their_names(tmp_path):
    for suffix, value in (("", 1.0), ("-two-threads", 2.0), ("-sse", 0.5)):
        measures = [{"name": "S", "rho": value, "unnamed": [{"a": 1}, {"b": 2}]}, {"name": "R", "rho": -value}]
        text = json.dumps({"analyses": [{"updates": 3000, "measures": measures}, {"updates": 12000, "measures": []}]})
        (tmp_path / f"kept{suffix}.json").write_text(text)
    named = [word for name in ("one thread", "two threads", "SSE") for word in ("--setting", name)]
    answer, found = measured(*named, "cat", tmp_path / "kept{-setting}.json", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert found["figures"]["analyses.3000.measures.S.rho"] == {"lowest": 0.5, "highest": 2.0, "seen": [1.0, 2.0, 0.5]}
    assert found["figures"]["analyses.3000.measures.R.rho"] == {"lowest": -2.0, "highest": -0.5, "seen": [-1.0, -2.0, -0.5]}
    assert "analyses.3000.measures.S.unnamed.1.b" in found["figures"]


def test_items_of_one_name_go_by_their_place(tmp_path):
    (tmp_path / "kept.json").write_text(json.dumps([{"name": "one", "x": 1}, {"name": "one", "x": 2}, {"x": 3}]))
    _, found = measured("--setting", "one thread", "cat", tmp_path / "kept{-setting}.json", folder=tmp_path)
    assert {path: one["seen"] for path, one in found["figures"].items()} == {"0.x": [1], "1.x": [2], "2.x": [3]}
