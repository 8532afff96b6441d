"""What comes next, from how far the stages are and from what a stage made."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from calling import call

from layerscout.cache.records.making import save_words
from layerscout.commands.following import after_agents, after_model, after_selection, results_folder
from layerscout.commands.study.init import NAME, settings_file
from layerscout.commands.study.results import Study, whole_of
from layerscout.commands.study.standing import Standing, page_standing
from layerscout.commands.study.status import _default as default_folder
from layerscout.commands.study.status import environment_of, next_command
from layerscout.rl.transfer.folders import IMPORTED


def done(stage: str, path: str = "x", **more) -> Standing:
    return Standing(stage, "done", path, **more)


def missing(stage: str, path: str = "x") -> Standing:
    return Standing(stage, "missing", path)


def begun(stage: str, command: str | None = None, **more) -> Standing:
    return Standing(stage, "begun", "x", command=command, **more)


STAGES = ("collect", "extract", "probe", "train", "report")


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path, (tmp_path / "stores",), {}, {}, {})


def test_nothing_is_left_to_do_when_all_is_done(study):
    assert next_command(study, [done(stage) for stage in STAGES]) is None
    assert next_command(study, []) is None


def test_an_empty_folder_begins_with_playing(study):
    command = next_command(study, [missing("collect", str(study.folder / "data.h5")), *map(missing, STAGES[1:])])
    assert command == f"layerscout collect layerscout/Intercept-v0 --steps 30000 --out {study.folder / 'data.h5'}"


def test_what_is_begun_goes_before_what_is_missing_and_by_its_own_command(study):
    found = [missing("collect"), done("extract"), begun("probe", "layerscout probe A --twin B"), missing("train")]
    assert next_command(study, found) == "layerscout probe A --twin B"
    found = [Standing("collect", "stale", "x"), begun("train", "layerscout train E")]
    assert next_command(study, found) == "layerscout train E"


def test_what_is_missing_is_not_missed_where_a_later_stage_is_there(study):
    later = [missing("collect"), missing("extract"), done("probe"), done("train"), missing("report", "folder/report.html")]
    assert next_command(study, later) == "layerscout report folder"
    alone = [missing("collect"), missing("extract"), missing("probe"), begun("train", "layerscout train E", alone=True)]
    assert next_command(study, alone) == "layerscout train E"


def test_a_page_alone_does_not_make_up_for_agents(study):
    found = [done("collect"), done("extract"), done("probe"), Standing("train", "missing", str(study.folder / "train")), done("report")]
    command = next_command(study, found)
    assert command is not None
    assert command.startswith("layerscout train ENVIRONMENT --selection")


def test_agents_that_are_stale_get_a_folder_beside_them_and_others_that_are_done_make_them_history(study):
    place = study.folder / "train"
    place.mkdir()
    (study.folder / "train-2").mkdir()
    stale = Standing("train", "stale", str(place))
    command = next_command(study, [done("collect"), done("extract"), done("probe"), stale])
    assert command is not None
    assert f"--out {study.folder / 'train-3'}" in command
    assert next_command(study, [done("collect"), done("extract"), done("probe"), stale, done("train"), done("report")]) is None


def test_a_trained_models_store_is_ranked_before_an_untrained_one(study):
    study.stores.update({"ls1-a": SimpleNamespace(store_id="ls1-a", backbone="tiny-untrained")})
    found = [done("collect"), done("extract"), Standing("probe", "missing", "probe")]
    assert next_command(study, found).split()[2] == "ls1-a", "where there is no other"
    study.stores.update({"ls1-b": SimpleNamespace(store_id="ls1-b", backbone="tiny")})
    command = next_command(study, found)
    assert command is not None
    assert command.split()[2] == "ls1-b"
    assert command.endswith(f"--root {study.folder / 'stores'}")


def test_without_one_folder_of_stores_none_is_named(study):
    found = [done("collect"), done("extract"), Standing("probe", "missing", "probe")]
    for roots in ((), (Path("a"), Path("b"))):
        study.roots = roots
        assert next_command(study, found) == "layerscout probe STORE --out probe"


def test_a_settings_file_says_the_rest_but_for_the_page(study, monkeypatch):
    (study.folder / NAME).write_text(settings_file())
    found = [done("collect"), missing("extract"), missing("probe")]
    assert next_command(study, found) == f"cd {study.folder} && layerscout extract --config study.toml"
    monkeypatch.chdir(study.folder)
    assert next_command(study, found) == "layerscout extract --config study.toml"
    assert next_command(study, [done("train"), missing("report", "here/report.html")]) == "layerscout report here"
    (study.folder / NAME).write_text("")
    assert next_command(study, found) == f"layerscout extract tiny x --root {study.folder / 'stores'}", "a file that says nothing of it"


@pytest.mark.parametrize(
    ("twin", "command"), [('"untrained"', "extract tiny-untrained --config study.toml --name untrained"), ("", "probe --config")]
)
def test_the_twin_that_the_study_waits_for_comes_before_its_probe(study, monkeypatch, twin, command, small, tiny_store):
    """The probe was named next, and refused by itself: its twin was not there."""
    monkeypatch.chdir(study.folder)
    text = settings_file().replace('"trained"', f'"{tiny_store.id}"').replace('root = "stores"', f'root = "{small.root}"')
    (study.folder / NAME).write_text(text.replace('twin = "untrained"', f"twin = {twin}" if twin else "#"))
    said = next_command(study, [done("collect"), done("extract"), missing("probe")])
    assert said is not None
    assert said.startswith(f"layerscout {command}")


def test_stores_that_are_not_there_yet_are_missed_where_the_settings_file_wants_them(study):
    (study.folder / NAME).write_text(settings_file())
    (found,) = [one for one in Study.at(study.folder, None).standings() if one.stage == "extract"]
    assert (found.state, found.path) == ("missing", str(study.folder / "stores"))


def test_a_pretrained_model_looks_before_anybody_else_is_asked(study):
    found = [missing("collect"), done("pretrain", command="layerscout extract apv:m d.h5"), missing("extract")]
    assert next_command(study, found) == "layerscout extract apv:m d.h5"


@pytest.mark.parametrize(
    ("here", "outputs", "place"),
    [
        ([], False, "."),
        ([], True, "outputs"),
        ([NAME], True, "."),
        (["data.h5"], True, "."),
        (["notes.txt"], True, "outputs"),
        ([NAME], False, "."),
    ],
)
def test_without_a_folder_outputs_is_asked_about_unless_results_lie_here(tmp_path, monkeypatch, here, outputs, place):
    monkeypatch.chdir(tmp_path)
    for name in here:
        (tmp_path / name).write_text("")
    if outputs:
        (tmp_path / "outputs").mkdir()
    assert default_folder() == Path(place)


def test_a_demo_is_gone_on_with_as_a_whole_but_what_is_stale_in_it_is_made_again_by_itself(study):
    save_words(study.folder, "demo", "--out", study.folder)
    whole = f"layerscout demo --out {study.folder}"
    assert next_command(study, [begun("train", "layerscout train E")]) == whole
    assert next_command(study, [done("collect"), missing("extract")]) == whole
    assert next_command(study, [done("train"), Standing("report", "stale", "here/report.html")]) == "layerscout report here"


def test_the_environment_is_what_the_data_tell(study, small):
    assert environment_of(study) == "ENVIRONMENT"
    study.datasets["sha256:00"] = small.planes
    assert environment_of(study) == "layerscout/Grid-v0"


# --- what follows a stage


@pytest.mark.parametrize(
    ("out", "folder"),
    [("outputs/probe", "outputs"), ("outputs/probe-2", "outputs"), ("outputs", "outputs"), ("mine/ranked", "mine/ranked"), ("probe", ".")],
)
def test_results_stand_above_a_ranking_that_is_named_as_one(out, folder):
    assert results_folder(Path(out)) == Path(folder)


def test_agents_follow_a_selection_beside_it_or_where_train_puts_them():
    usual = after_selection(Path("outputs/probe"), "layerscout/Grid-v0", None)
    assert usual == "layerscout train layerscout/Grid-v0 --selection outputs/probe/selection.json"
    other = after_selection(Path("mine/probe"), "layerscout/Grid-v0", None, "by_task.json")
    assert other == "layerscout train layerscout/Grid-v0 --selection mine/probe/by_task.json --out mine/train"
    assert after_selection(Path("mine/probe"), None, None) == "layerscout report mine", "nothing can be played"


def test_a_page_follows_agents_that_stand_beside_their_ranking(tmp_path):
    (tmp_path / "probe").mkdir()
    selection = tmp_path / "probe" / "selection.json"
    assert after_agents(tmp_path / "train", selection) == f"layerscout status {tmp_path}", "there is no ranking yet"
    (tmp_path / "probe" / "ranking.json").write_text("{}")
    assert after_agents(tmp_path / "train-2", selection) == f"layerscout report {tmp_path}"
    assert after_agents(tmp_path / "elsewhere" / "train", selection) == f"layerscout status {tmp_path}"
    assert after_agents(tmp_path, selection) == f"layerscout report {tmp_path}"


def test_a_model_looks_at_what_was_imported_for_it_or_else_at_its_data(tmp_path):
    data = tmp_path / "data.h5"
    assert after_model("apv", tmp_path, data) == f"layerscout extract apv:{tmp_path} {data}"
    (tmp_path / IMPORTED).write_bytes(b"")
    assert after_model("pvdr", tmp_path, data) == f"layerscout extract pvdr:{tmp_path} {tmp_path / IMPORTED}"


def test_a_page_is_stale_when_one_of_its_inputs_is_newer_and_says_which(tmp_path):
    page, old, new = tmp_path / "report.html", tmp_path / "ranking.json", tmp_path / "train" / "runs.json"
    new.parent.mkdir()
    for path, when in ((old, 10), (page, 20), (new, 30)):
        path.write_text("")
        os.utime(path, (when, when))
    assert page_standing(page, [old]) == Standing("report", "done", str(page))
    assert page_standing(page, [old, new], "again") == Standing(
        "report", "stale", str(page), "", "train/runs.json is newer", command="again"
    )
    os.utime(new, (20, 20))
    assert page_standing(page, [old, new]).state == "done", "as new is new enough"
    page.unlink()
    assert page_standing(page, [old]).state == "missing"


def test_a_folder_that_is_no_ranking_and_no_agents_is_looked_at_itself(tmp_path):
    for name in ("probe", "train", "anything"):
        (tmp_path / name).mkdir()
        assert whole_of(tmp_path / name) == tmp_path / name
    (tmp_path / "probe" / "evidence").mkdir()
    assert whole_of(tmp_path / "probe") == tmp_path


def test_beginning_a_study_leaves_alone_what_git_was_told_to_ignore(tmp_path):
    own = tmp_path / ".gitignore"
    own.write_text("secrets/\n")
    assert call("init", tmp_path, "-q").exit_code == 0
    assert own.read_text() == "secrets/\n"
    assert (tmp_path / NAME).is_file()
    assert call("init", tmp_path / "new", "-q").exit_code == 0
    assert "stores/" in (tmp_path / "new" / ".gitignore").read_text()
