"""The command line: it starts at once, tells mistakes in one line with the right exit code, and keeps stdout for data."""

from __future__ import annotations

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from calling import HELP, call, help_of, refused

from layerscout import __version__
from layerscout.cli import COMMANDS, PRETRAIN_COMMANDS, SERVE, SERVE_COMMANDS, STORE_COMMANDS
from layerscout.commands import console
from layerscout.errors import BudgetError, DataError, LayerscoutError, MissingExtraError, UsageError

GROUPS = {"pretrain": PRETRAIN_COMMANDS, "store": STORE_COMMANDS, "serve": SERVE_COMMANDS}
HEAVY = ["torch", "diffusers", "transformers", "sklearn", "dask", "zarr", "matplotlib", "scipy", "h5py", "gymnasium", "av", "pyarrow"]
START = [sys.executable, "-c", "from layerscout.cli import main; main()"]


def run_apart(*words: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    environment = os.environ | changes
    command = [*START, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False, timeout=120)


# --- starting


@pytest.mark.parametrize("words", [["--help"], ["extract", "--help"], ["train", "-h"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(words):
    script = f"""
import sys
from layerscout.cli import main
try:
    main({words!r})
except SystemExit as end:
    assert end.code == 0
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--preset", "qick"],
        ["collect", "E", "--steps", "0"],
        ["extract", "tiny", "d.h5", "--batch", "x"],
        ["probe", "s", "--folds", "2"],
        ["train", "E", "--selection", "s.json", "--mode", "x"],
    ],
    ids=lambda words: words[0],
)
def test_a_wrong_setting_is_told_before_anything_heavy_is_imported(words):
    script = f"import sys; from layerscout.cli import main\ntry: main({words!r})\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert not {*HEAVY, "numpy"} & set(done.stdout.split())


def test_every_command_explains_itself():
    shown = call("-h")
    assert shown.exit_code == 0
    for words, line in (
        [(name, line) for name, (_, line) in COMMANDS.items()]
        + [(f"{group} {name}", line) for group, inner in GROUPS.items() for name, (_, line) in inner.items()]
        + [("serve", SERVE[1])]
    ):
        own = call(*words.split(), "-h")
        assert own.exit_code == 0
        assert f"  {words.split()[-1]} " in (call(words.split()[0], "-h").stdout if " " in words else shown.stdout)
        assert line in own.stdout, f"{words}: the list of commands and its own help say different things"
        assert "Example:\n    layerscout " in own.stdout
        assert f"commands.md#layerscout-{words.replace(' ', '-')}\n" in own.stdout
        for option in ("--json", "--quiet", "--debug"):
            assert option in own.stdout, f"{words} {option}"


@pytest.mark.parametrize(
    "words",
    [[], *([name] for name in COMMANDS), *([group] for group in GROUPS), *([group, name] for group in GROUPS for name in GROUPS[group])],
    ids=" ".join,
)
def test_help_says_what_it_said(words):
    """A changed help is a change that users see: ``python -m calling`` in this folder writes the files again."""
    assert help_of(*words) == (HELP / f"{'-'.join(words) or 'layerscout'}.txt").read_text()


def test_a_command_that_was_not_asked_for_is_not_imported():
    script = (
        "import sys; from layerscout.cli import main\ntry: main(['layers', '-h'])\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr.split()
    assert "layerscout.commands.layers" in loaded
    assert not {"layerscout.commands.collect", "layerscout.commands.stores.listing", "rich"} & set(loaded)


@pytest.mark.parametrize("start", [["-m", "layerscout"], START[1:]], ids=["module", "entry point"])
def test_both_ways_to_start_are_one(start):
    done = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"layerscout {__version__}\n"


def test_the_version_is_the_packages():
    result = call("--version")
    assert (result.exit_code, result.stdout.strip()) == (0, f"layerscout {__version__}")


# --- mistakes


def test_unknown_backbone_is_told_with_the_nearest(small, tmp_path):
    hint = refused(call("layers", "tyni"), 2, "unknown backbone 'tyni'; did you mean 'tiny'?")
    assert "synthetic" in hint
    refused(call("extract", "tinny", small.intercept, "--root", tmp_path), 2, "did you mean 'tiny'?")


def test_unknown_layer_is_told_with_the_nearest(small, tmp_path):
    result = call("extract", "tiny", small.intercept, "--layer", "block.3", "--root", tmp_path)
    assert refused(result, 2, "layer 'block.3' is not in tiny (8 layers); did you mean 'blocks.3'?") == "hint: layerscout layers tiny"


def test_unknown_environment_is_told_with_the_nearest(tmp_path):
    refused(
        call("collect", "layerscout/Intercep-v0", "--steps", 5, "--out", tmp_path / "d.h5"), 2, "did you mean 'layerscout/Intercept-v0'?"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["collect", "layerscout/Grid-v0", "--steps", 5, "--set", "sead=3"], "unknown setting 'collect.sead'; did you mean 'seed'?"),
        (["extract", "tiny", "data.h5", "--set", "extract.batsh=3"], "unknown setting 'extract.batsh'; did you mean 'batch'?"),
        (["probe", "store", "--set", "fold=3"], "unknown setting 'probe.fold'; did you mean 'folds'?"),
        (["train", "E", "--selection", "s.json", "--set", "dqn.gama=1"], "unknown setting 'train.dqn.gama'; did you mean 'gamma'?"),
        (["train", "E", "--selection", "s.json", "--set", "trian.seeds=1"], "unknown stage 'trian'; did you mean 'train'?"),
        (["train", "E", "--selection", "s.json", "--mode", "ofline"], "setting 'train.mode'"),
        (["extract", "tiny"], "setting 'extract.data' is missing"),
        (["collect", "layerscout/Grid-v0", "--steps", 0], "setting 'collect.steps'"),
        (["demo", "--set", "seeds=3"], "names no stage"),
        (["demo", "--preset", "quik"], "did you mean 'quick'?"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_wrong_settings_are_told(words, message):
    refused(call(*words), 2, message)


def test_wrong_words_are_usage_errors():
    for words in (["extrct"], ["extract", "--btach", "3"], ["collect", "--steps", "many"]):
        assert call(*words).exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract", "tiny", "{}/none.h5", "--root", "{}"], "no trajectory file"),
        (["probe", "nothing", "--root", "{}"], "no store 'nothing'"),
        (["train", "layerscout/Grid-v0", "--selection", "{}/none.json", "--root", "{}"], "no selection"),
        (["report", "{}/none"], "no folder"),
        (["layers", "cogvideox:{}/none"], "no checkpoint folder"),
        (["collect", "layerscout/Grid-v0", "--steps", "5", "--config", "{}/none.toml"], "no configuration file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_not_there_is_a_data_error(words, message, tmp_path):
    refused(call(*[word.format(tmp_path) for word in words]), 4, message)


def test_a_gpu_that_is_not_there_is_a_usage_error(small, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hint = refused(call("extract", "tiny", small.intercept, "--device", "cuda", "--root", tmp_path), 2, "torch sees no GPU")
    assert "doctor" in hint


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("wrong", "right"), 2, "error: wrong\nhint: right"),
        (MissingExtraError("missing"), 3, "error: missing"),
        (DataError("damaged"), 4, "error: damaged"),
        (BudgetError("too much"), 5, "error: too much"),
        (LayerscoutError("other"), 1, "error: other"),
        (OSError(28, "No space left on device", "file"), 5, "No space left on device: file"),
        (PermissionError(13, "Permission denied", "file"), 4, "Permission denied: file"),
        (MemoryError("of the machine"), 5, "out of memory"),
        (ZeroDivisionError("division"), 1, "this is a bug: ZeroDivisionError: division"),
        (KeyboardInterrupt(), 130, "run the same command to continue"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_have_exit_codes_and_tracebacks_only_on_demand(error, code, message, debug, capsys):
    with pytest.raises(SystemExit) as end, console.Call(debug=debug).guarded():
        raise error
    shown = capsys.readouterr()
    assert end.value.code == code
    assert message in shown.err
    assert shown.out == ""
    assert ("Traceback" in shown.err) == (debug and not isinstance(error, KeyboardInterrupt))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda value: str(value)
)
def test_an_interrupted_process_says_how_to_continue(tmp_path, number, code):
    """Ctrl-C, a scheduler's time limit or a closed terminal in the middle of collecting: one line, and what is there is kept."""
    out = tmp_path / "data.h5"
    words = ["collect", "layerscout/Grid-v0", "--steps", "3000000", "--out", str(out), "--json"]
    heed = functools.partial(signal.signal, number, signal.SIG_DFL)  # a shell lets what it runs in the background ignore it
    process = subprocess.Popen([*START, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    began = time.monotonic()
    while not list(tmp_path.rglob("*.parts/*.h5")) and process.poll() is None and time.monotonic() - began < 60:
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "error: interrupted" in errors
    assert "hint: run the same command to continue" in errors
    assert json.loads(output) == {
        "error": "interrupted",
        "kind": "interrupted",
        "hint": "run the same command to continue",
        "exit_code": code,
    }
    assert not out.exists()
    assert list(tmp_path.rglob("*.parts/*.h5"))


def test_a_process_that_is_told_to_ignore_a_signal_goes_on_ignoring_it():
    script = (
        "import signal; from layerscout.commands.console import heed_signals; heed_signals(); print(signal.getsignal(signal.SIGHUP).name)"
    )
    ignore = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    done = subprocess.run([sys.executable, "-c", script], preexec_fn=ignore, capture_output=True, text=True, check=True)
    assert done.stdout == "SIG_IGN\n"


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (["layers", "tyni"], "usage", 2),
        (["extrct"], "usage", 2),
        (["extract", "--btach", "3"], "usage", 2),
        (["collect", "layerscout/Grid-v0", "--steps", "many"], "usage", 2),
        (["report", "{}/none"], "data", 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_with_json_an_error_is_one_object_too(words, kind, code, tmp_path):
    result = call(*[word.format(tmp_path) for word in words], "--json")
    told = json.loads(result.stdout)
    assert set(told) == {"error", "kind", "hint", "exit_code"}
    assert (told["kind"], told["exit_code"], result.exit_code) == (kind, code, code)
    assert result.stderr.splitlines() == [f"error: {told['error']}", f"hint: {told['hint']}"]


@pytest.mark.parametrize("words", [["probe", "--help"], ["report", "{}/Übung ρ"]], ids=lambda words: words[0])
def test_output_never_fails_for_an_encoding(words, tmp_path):
    """Nothing is lost but the letters that a terminal cannot show; a reader is told the same numbers."""
    plain, *narrow = (
        run_apart(*(word.format(tmp_path) for word in words), PYTHONIOENCODING=name) for name in ("utf-8", "ascii", "latin-1")
    )
    assert "R²" in plain.stdout or "ρ" in plain.stderr
    for told in narrow:
        assert told.returncode == plain.returncode
        assert "Traceback" not in told.stderr + told.stdout
        assert len((told.stdout + told.stderr).splitlines()) == len((plain.stdout + plain.stderr).splitlines())


@pytest.mark.parametrize("words", [["store", "ls", "--root=~/x"], ["report", "~/x"], ["import", "~/x", "--out=~/y"]], ids=" ".join)
def test_home_is_meant_wherever_a_path_is_written(words, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "x") in call(*words).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full; runs on Linux")
@pytest.mark.parametrize("words", [["--help"], ["layers", "tiny"], ["layers", "tiny", "--json"], ["store", "ls", "-h"]], ids=" ".join)
def test_a_full_disk_behind_the_output_is_told(words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*START, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    error, hint = done.stderr.splitlines()[:2]
    assert error.startswith("error: ")
    assert "No space left" in error
    assert hint.startswith("hint: ")


def test_a_reader_that_goes_away_is_no_error():
    command = " ".join(map("'{}'".format, [*START, "layers", "synthetic"]))
    done = subprocess.run(f"{command} | true", shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


# --- results


def test_layers_are_listed_without_weights(monkeypatch):
    from layerscout.extract.backbones import tiny

    monkeypatch.setattr(tiny, "weights", lambda model: pytest.fail("weights were read"))
    for model, blocks in (("tiny", 8), ("tiny-2", 12)):
        shown = json.loads(call("layers", model, "--json").stdout)
        assert [layer["name"] for layer in shown["layers"]] == [f"blocks.{i}" for i in range(blocks)]
        assert {layer["width"] for layer in shown["layers"]} == {64}
    text = call("layers", "tiny").stdout.splitlines()
    assert text[1].split() == ["depth", "layer", "width", "parameters"]
    assert len(text) == 11


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, small):
    """Collect, extract and probe through the command line, every result as JSON."""
    folder = tmp_path_factory.mktemp("pipeline")
    data, root = folder / "data.h5", folder / "root"
    words = {
        "collect": ["collect", "layerscout/Grid-v0", "--steps", 700, "--out", data, "--set", 'options={"observation": "planes"}'],
        "extract": ["extract", "synthetic", data, "--root", root],
    }
    results = {name: call(*line, "--json", "-q") for name, line in words.items()}
    store = json.loads(results["extract"].stdout)["store"]
    words["probe"] = ["probe", store, "--root", root, "--out", folder / "probe", "--threads", 1, "--set", "shifts=3"]
    results["probe"] = call(*words["probe"], "--json", "-q")
    selection = folder / "probe" / "selection.json"
    words["train"] = ["train", "layerscout/Grid-v0", "--selection", selection, "--root", root, "--out", folder / "train", "--seeds", 2]
    words["train"] += ["--updates", 5, "--set", "evaluations=1", "--set", "final_episodes=2", "--set", "dqn.batch=4"]
    results["train"] = call(*words["train"], "--json", "-q")
    words["report"] = ["report", folder]
    results["report"] = call(*words["report"], "--json", "-q")
    return folder, words, results


STAGES = ["collect", "extract", "probe", "train", "report"]


@pytest.mark.parametrize("stage", STAGES)
def test_json_is_one_object_and_quiet_is_silent(pipeline, stage):
    result = pipeline[2][stage]
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_command_again_tells_people_what_is_there(pipeline, stage):
    _, words, _ = pipeline
    result = call(*words[stage])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip()
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_a_dry_run_writes_nothing(pipeline, stage):
    folder, words, _ = pipeline
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    planned = call(*words[stage], "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    assert json.loads(planned.stdout)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    if stage == "report":
        return  # its results lie where its input does
    elsewhere = {"collect": "--out", "extract": "--root", "probe": "--out", "train": "--out"}[stage]
    changed = list(words[stage])
    changed[changed.index(elsewhere) + 1] = folder.parent / "never" / "there"
    assert call(*changed, "-n").exit_code == 0
    assert not (folder.parent / "never").exists()


def test_every_stage_names_the_next_command_and_it_runs(pipeline):
    """Pasted into a shell one after the other, with small numbers and a folder whose name needs quotes, they do the whole job."""
    folder, words, _ = pipeline
    place = folder.parent / "it's a study"
    small = {"probe": ["--shifts", "2"], "train": ["--seeds", "2", "--updates", "3", "--set", "evaluations=1", "--set", "final_episodes=2"]}
    line = [*words["collect"][:-3], place / "data.h5", *words["collect"][-2:]]
    seen = []
    while line:
        stage = str(line[0])
        own = {"extract": ["--root", place / "root"], "probe": ["--out", place / "probe"]}.get(stage, [])
        done = call(*line, *own, *small.get(stage, []), "-q")
        assert done.exit_code == 0, done.stderr
        seen.append(stage)
        after = [told.partition(": ")[2] for told in done.stdout.splitlines() if told.startswith("next: layerscout")]
        line = shlex.split(after[0])[1:] if after else []
    assert seen == [*STAGES, "status"]
    assert (place / "report.html").is_file()


def test_a_report_writes_the_files_that_its_plan_names(pipeline):
    folder, words, _ = pipeline
    planned = json.loads(call(*words["report"], "--dry-run", "--json").stdout)
    assert planned["exists"]
    assert planned["runs"] == len(json.loads((folder / "train" / "runs.json").read_text())["runs"])
    for path in planned["files"]:
        Path(path).unlink()
    left = set(folder.rglob("*"))
    assert call(*words["report"]).exit_code == 0
    assert {str(path) for path in set(folder.rglob("*")) - left} == set(planned["files"])
    study = json.loads(call("report", folder, "--out", folder / "none", "--dry-run", "--json").stdout)
    assert (study["kind"], study["exists"]) == ("study", False)
    assert not (folder / "none").exists()


def test_a_dry_run_of_the_demo_writes_nothing(tmp_path):
    result = call("demo", "--out", tmp_path / "out", "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)
    assert not (tmp_path / "out").exists()


def test_settings_come_from_file_preset_and_assignments(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('[collect]\nenvironment = "layerscout/Grid-v0"\nsteps = 70\n[presets.long.collect]\nsteps = 140\n')
    for extra, steps in ([], 70), (["--preset", "long"], 140), (["--preset", "long", "--set", "steps=210"], 210), (["--steps", 9], 9):
        result = call("collect", "--config", file, "--out", tmp_path / "d.h5", *extra, "--dry-run", "--json")
        assert json.loads(result.stdout)["steps"] == steps


# --- doctor


def test_doctor_tells_what_a_bug_report_needs(tmp_path):
    done = run_apart("doctor", "--json", LAYERSCOUT_ROOT=str(tmp_path / "root"))
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert {"python", "platform", "cpu_cores", "memory_bytes", "packages", "torch", "gl", "store_root", "free_disk_bytes"} <= facts.keys()
    assert facts["packages"]["numpy"] != "not installed"
    assert "version" in facts["torch"]
    assert facts["store_root"] == str(tmp_path / "root")
    assert all(isinstance(free, int) for free in facts["free_disk_bytes"].values())


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ImportError('libcudart.so.12: cannot open shared object file')", "ImportError: libcudart.so.12"),
        ("import os; os._exit(139)", "exit code 139"),
        ("print('hello from torch')\nraise RuntimeError('broken')", "RuntimeError: broken"),
    ],
    ids=["import error", "crash", "noise"],
)
def test_doctor_works_when_torch_is_broken(tmp_path, body, told):
    broken = tmp_path / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text(body)
    path = os.pathsep.join([str(tmp_path), str(Path(console.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = run_apart("doctor", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout
    assert "numpy" in done.stdout
    assert json.loads(run_apart("doctor", "--json", PYTHONPATH=path).stdout)["torch"]["broken"]


def test_doctor_works_for_a_user_without_a_home(monkeypatch):
    def nowhere(*_):
        raise RuntimeError("Could not determine home directory.")

    for name in ("LAYERSCOUT_ROOT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    facts = json.loads(call("doctor", "--json").stdout)
    assert facts["store_root"].startswith("none")
    assert list(facts["free_disk_bytes"]) == [str(Path.cwd())]


# --- the printer


def test_tables_are_aligned_and_numbers_stand_right():
    shown = console.table(("layer", "score"), [("blocks.10", "0.5"), ("a", "n/a"), ("bb", "-12.25")])
    assert shown.splitlines() == [
        "layer       score",
        "---------  ------",
        "blocks.10     0.5",
        "a             n/a",
        "bb         -12.25",
    ]
    assert console.table(("layer", "score"), []).splitlines() == ["layer  score", "-----  -----"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_400_000, "1.4 MB"), (3.2e9, "3.2 GB"), (5e15, "5000.0 TB")]
)
def test_sizes_are_readable(count, text):
    assert console.size(count) == text


def test_results_are_lines_for_people_and_an_object_for_programs(capsys):
    facts = {"rows": 12_000, "bytes": 1_400_000, "exists": None, "other_digest": None, "layers": ["a", "b"], "complete": True, "none": []}
    with console.Call().guarded() as call:
        call.emit(facts)
    assert capsys.readouterr().out.splitlines() == [
        "rows: 12,000",
        "bytes: 1.4 MB",
        "exists: no",
        "other_digest: n/a",
        "layers: a, b",
        "complete: yes",
        "none: none",
    ]
    with console.Call(as_json=True).guarded() as call:
        call.emit(facts | {"path": Path("x")})
    assert json.loads(capsys.readouterr().out) == facts | {"path": "x"}
    with pytest.raises(SystemExit), console.Call(as_json=True).guarded() as call:
        call.emit({"score": float("nan")})
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "JSON" in shown.err
