"""Every command means the same store by the same word, and says the same where it is not there."""

from __future__ import annotations

import json
import shutil

import pytest
from calling import call, refused

COMMANDS = {
    "probe": ("probe", "STORE", "-n"),
    "others": ("probe", "FIRST", "STORE", "-n"),
    "twin": ("probe", "FIRST", "--twin", "STORE", "-n"),
    "passport": ("passport", "STORE"),
    "info": ("store", "info", "STORE"),
    "verify": ("store", "verify", "STORE"),
    "push": ("store", "push", "STORE", "SHARED", "-n"),
    "pin": ("store", "pin", "STORE", "-n"),
    "name": ("store", "name", "STORE", "another", "-n"),
    "rm": ("store", "rm", "STORE", "-n"),
}
PREFIX = 12


@pytest.fixture(scope="module")
def places(synthetic_store, tmp_path_factory):
    """A folder of stores with one named store, and another folder of stores with the same."""
    folder = tmp_path_factory.mktemp("words")
    shutil.copytree(synthetic_store.path, folder / "root" / "stores" / synthetic_store.id)
    shutil.copytree(folder / "root", folder / "shared")
    for root in ("root", "shared"):
        assert call("store", "name", synthetic_store.id, "best", "--root", folder / root).exit_code == 0
    return folder, synthetic_store.id


def spelt(places, way: str) -> str:
    folder, store = places
    shared = folder / "shared"
    return {
        "id": store,
        "beginning": store[:PREFIX],
        "name": "best",
        "folder": f"{folder}/root/stores/{store}",
        "folder/": f"{folder}/root/stores/{store}/",
        "ROOT/ID": f"{folder}/root/{store}",
        "ROOT/beginning": f"{folder}/root/{store[:PREFIX]}",
        "ROOT/name": f"{folder}/root/best",
        "PLACE": str(shared),
        "PLACE/stores/ID": f"{shared}/stores/{store}",
        "PLACE/ID": f"{shared}/{store}",
        "PLACE/stores/beginning": f"{shared}/stores/{store[:PREFIX]}",
        "PLACE/name": f"{shared}/best",
        "URL": f"file://{shared}",
        "URL/ID": f"file://{shared}/{store}",
        "URL/beginning": f"file://{shared}/{store[:PREFIX]}",
        "URL/stores/ID/": f"file://{shared}/stores/{store}/",
    }[way]


def words(places, command: str, store: str) -> list[str]:
    folder, first = places
    said = [{"STORE": store, "FIRST": first, "SHARED": str(folder / "target")}.get(word, word) for word in COMMANDS[command]]
    return [*said, "--root", str(folder / "root"), "--json", "-q"]


@pytest.mark.parametrize("way", ["id", "beginning", "name", "folder", "folder/", "ROOT/ID", "ROOT/beginning", "ROOT/name"])
@pytest.mark.parametrize("command", ["info", "verify", "push", "pin", "name", "passport"])
def test_a_store_here_is_known_by_every_spelling(places, command, way):
    result = call(*words(places, command, spelt(places, way)))
    assert result.exit_code == 0, result.output
    assert places[1] in result.stdout


@pytest.mark.parametrize(
    "way", ["PLACE", "PLACE/stores/ID", "PLACE/ID", "PLACE/stores/beginning", "PLACE/name", "URL", "URL/ID", "URL/beginning"]
)
@pytest.mark.parametrize("command", ["info", "passport", "push"])
def test_a_store_in_another_place_is_known_by_every_spelling(places, command, way):
    result = call(*words(places, command, spelt(places, way)))
    if way == "URL" and command == "push":
        refused(result, 2, "is elsewhere")
        return
    assert result.exit_code == 0, result.output
    assert places[1] in result.stdout


@pytest.mark.parametrize("way", ["beginning", "ROOT/name", "PLACE/ID", "URL/stores/ID/"])
def test_the_probe_takes_the_same_words(places, way):
    result = call(*words(places, "probe", spelt(places, way)))
    assert result.exit_code == 0, result.output
    refused(call(*words(places, "twin", spelt(places, way))), 4, f"the twin store is store {places[1]} itself")  # so it was found


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_there_is_told_in_the_same_words(places, command):
    folder, _ = places
    error = json.loads(call(*words(places, command, "bset")).stdout)
    assert error["error"] == f"no store 'bset' under {folder / 'root'}; did you mean 'best'?"
    assert error["hint"].startswith(
        "another folder of stores is named by --root FOLDER or LAYERSCOUT_ROOT; this one holds: layerscout store ls "
    )


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"others", "twin"}))
def test_where_there_is_no_folder_of_stores_the_words_are_the_same_too(places, command, tmp_path):
    said = words(places, command, "bset")
    said[said.index("--root") + 1] = str(tmp_path / "none")
    error = json.loads(call(*said).stdout)
    assert error["error"] == f"no store 'bset': the folder of stores, {tmp_path / 'none'}, does not exist"
    assert error["hint"] == "another folder of stores is named by --root FOLDER or LAYERSCOUT_ROOT"


def test_a_word_behind_an_address_that_is_no_id_says_where_the_ids_are(places):
    folder, _ = places
    said = call("store", "info", f"file://{folder}/shared/bset", "--root", folder / "root", "--json")
    error = json.loads(said.stdout)
    assert error["error"] == f"no folder {folder}/shared/bset"
    assert error["hint"] == f"{folder}/shared has stores, named by their ids: layerscout store ls {folder}/shared"


def test_what_is_elsewhere_is_looked_at_without_leaving_anything(places):
    folder, store = places
    before = sorted(folder.rglob("*"))
    facts = json.loads(call("store", "info", f"file://{folder}/shared", "--root", folder / "none", "--json").stdout)
    assert (facts["store"], facts["layers_here"]) == (store, [])
    refused(call("store", "rm", f"file://{folder}/shared/{store}", "--root", folder / "root", "-n"), 2, "only stores under")
    assert sorted(folder.rglob("*")) == before
