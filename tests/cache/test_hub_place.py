"""A dataset repository of the hub as a place: pushed in few commits, the manifest last; continued; private; and a bucket."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import writable_hub
from huggingface_hub import DatasetCard

from layerscout.cache.opening import open_store
from layerscout.cache.remote import hub as hub_place
from layerscout.cache.remote.hub import HubPlace
from layerscout.cache.remote.place import open_place, split_url
from layerscout.cache.remote.published import content_folder, list_remote
from layerscout.cache.remote.transfer import place_card, plan_pull, plan_push, pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.errors import DataError, UsageError
from layerscout.progress import Reporter

URL = "hf://datasets/lab/layers"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's own library


@pytest.fixture
def store(tmp_path, _no_waiting_for_the_disk) -> Store:
    return made_up(seed=0, rows=40, widths=(16, 5)).write(tmp_path / "here")


def test_a_store_goes_to_the_hub_and_comes_back_and_its_manifest_is_last(hub, store, tmp_path):
    assert plan_push(store, URL).outcome == "planned"
    assert hub.commits == []
    done = push(store, URL)
    assert done.outcome == "published"
    assert hub.uploads  # large files went as large files
    *files, last = hub.commits
    folder = content_folder(store.manifest)
    assert all(path.startswith(f"{folder}/") for group in files for path in group)
    assert last == ["README.md", f"stores/{store.id}/identity.json", f"stores/{store.id}/manifest.json"]
    assert [one.store_id for one in list_remote(URL)] == [store.id]
    back = pull(f"{URL}/{store.id}", tmp_path / "there")
    for name in store.specs:
        np.testing.assert_array_equal(back.layer(name).all(), store.layer(name).all())
    mirror = open_store(tmp_path / "third", f"{URL}/{store.id[:12]}")
    np.testing.assert_array_equal(mirror.layer("blocks.0").read(0, 3), store.layer("blocks.0").read(0, 3))
    card = DatasetCard(hub.repositories["lab/layers"]["README.md"].decode())
    assert f"layerscout store pull {URL}/{store.id}" in card.text
    assert push(store, URL).outcome == "present"
    assert len(hub.commits) == len(files) + 1


def test_a_push_that_was_cut_continues_and_sends_nothing_twice(hub, store, monkeypatch, tmp_path):
    monkeypatch.setattr(hub_place, "FILES_A_COMMIT", 8)
    hub.fail_after = 2
    with pytest.raises(DataError, match="the hub answered 400"):
        push(store, URL)
    assert list_remote(URL) == []  # without its manifest it is no store
    hub.fail_after = 10**9
    assert plan_push(store, URL).present_objects == 16
    done = push(store, URL, Reporter(quiet=True, events=tmp_path / "events"))
    assert (done.outcome, done.present_objects) == ("published", 16)
    (ended,) = [told for told in map(json.loads, (tmp_path / "events").read_text().splitlines()) if told["event"] == "end"]
    assert ended["done"] == done.bytes  # what was there counts as done
    sent = [path for group in hub.commits for path in group]
    assert len(sent) == len(set(sent)) == len(store.manifest.objects) + 3


def test_what_is_wrong_there_is_sent_again_and_nothing_damaged_is_published(hub, store):
    push(store, URL)
    files, folder = hub.repositories["lab/layers"], content_folder(store.manifest)
    chunk = next(item.path for item in store.manifest.objects if item.path.startswith("layers/") and "/c/" in item.path)
    files[f"{folder}/{chunk}"] = bytes(byte ^ 1 for byte in files[f"{folder}/{chunk}"])
    with pytest.raises(DataError, match="damaged"):
        pull(URL, store.path.parents[2] / "there")
    again = push(store, URL)
    assert again.present_objects == len(store.manifest.objects) - 1
    pull(URL, store.path.parents[2] / "there")
    del files[f"{folder}/{chunk}"]
    (store.path / chunk).write_bytes(bytes(byte ^ 1 for byte in (store.path / chunk).read_bytes()))
    with pytest.raises(DataError, match="is damaged"):
        push(store, URL)


def test_whoever_commits_at_the_same_moment_is_waited_out(hub, store):
    def another():
        hub.commits.append(["notes.txt"])

    hub.before_commit[:] = [another, lambda: None]
    assert push(store, URL).outcome == "published"
    other = made_up(seed=0, rows=40, widths=(16, 5)).write(store.path.parents[2] / "other")
    assert other.id == store.id
    assert push(other, URL).outcome in ("present", "another")


def test_no_token_is_written_or_told_and_no_access_is_one_line(hub, store, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    push(store, URL)
    mirror = open_store(tmp_path / "third", URL)
    mirror.layer("blocks.0")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    shown = capfd.readouterr()
    assert writable_hub.TOKEN.encode() not in written
    assert writable_hub.TOKEN not in shown.out + shown.err
    assert writable_hub.TOKEN not in json.dumps(plan_pull(URL, tmp_path / "x").describe())
    assert not any(writable_hub.TOKEN.encode() in data for data in hub.repositories["lab/layers"].values())
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    for url in (URL, "hf://datasets/lab/none"):
        with pytest.raises(DataError, match="no such repository, or it is private") as raised:
            list_remote(url)
        assert "hf auth login" in raised.value.hint
        assert "hf_another" not in str(raised.value)


def test_somebody_elses_card_is_left_alone(hub, store):
    hub.repositories["lab/layers"]["README.md"] = b"# Ours\n"
    push(store, URL)
    assert hub.repositories["lab/layers"]["README.md"] == b"# Ours\n"


def test_addresses_of_the_hub():
    assert split_url(f"{URL}/team/stores/ls1-0a") == (f"{URL}/team", "ls1-0a")
    place = open_place(f"{URL}/team")
    assert (place.kind, place.repository, place.prefix) == ("datasets", "lab/layers", "team")
    assert open_place("hf://buckets/lab/layers").kind == "buckets"
    for url in ("hf://lab/layers", "hf://datasets/lab", "hf://models/lab/layers", "hf://datasets/lab/layers@main"):
        with pytest.raises(UsageError):
            open_place(url)


class Bucket:
    """The calls that a bucket takes, over a dictionary: its bytes travel by a protocol of their own."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def list_bucket_tree(self, bucket_id, prefix=None, *, recursive=None):
        kinds = {"file": type("BucketFile", (SimpleNamespace,), {}), "folder": type("BucketFolder", (SimpleNamespace,), {})}
        found = [path for path in self.files if path.startswith(prefix or "")]
        if recursive:
            return [kinds["file"](path=path, size=len(self.files[path])) for path in found]
        return [kinds["folder"](path=f"{prefix}{name}") for name in sorted({path.removeprefix(prefix).split("/")[0] for path in found})]

    def batch_bucket_files(self, bucket_id, *, add):
        self.files |= {path: data if isinstance(data, bytes) else Path(data).read_bytes() for data, path in add}

    def download_bucket_files(self, bucket_id, files, *, raise_on_missing_files):
        from huggingface_hub.errors import EntryNotFoundError

        for path, target in files:
            if path not in self.files:
                raise EntryNotFoundError("no such file")
            Path(target).write_bytes(self.files[path])


def test_a_bucket_of_the_hub_is_a_place_too(store, tmp_path):
    place = HubPlace("hf://buckets/lab/layers/team", "buckets", "lab/layers", "team", Bucket())
    assert push(store, place).outcome == "published"
    assert push(store, place).outcome == "present"
    assert [one.store_id for one in list_remote(place)] == [store.id]
    back = pull(place, tmp_path / "there")
    np.testing.assert_array_equal(back.layer("blocks.1").all(), store.layer("blocks.1").all())


def repository(stores: list[str], rankings: list[str], readme: bytes | None = None, prefix: str = "") -> SimpleNamespace:
    """What a card asks of a repository of the hub."""
    held = {"stores": stores, "rankings": rankings}
    return SimpleNamespace(url=URL, prefix=prefix, names=held.__getitem__, read=lambda name, most: readme)


def test_a_card_names_every_store_and_ranking_once_the_new_ranking_first_with_its_picture(store):
    other = made_up(seed=1).id
    text = place_card(repository([other, "notes", store.id], ["old", "new"]), store, ["new", "newer"]).decode()
    assert [line for line in text.splitlines() if line.startswith("- `")] == [
        f"- `layerscout store pull {URL}/{name}`" for name in sorted([store.id, other])
    ]
    ranked = [line for line in text.splitlines() if line.startswith("- [")]
    assert ranked == [f"- [{name}](rankings/{name}/README.md)" for name in ("new", "newer", "old")]
    assert text.count("![Score of every layer by depth](rankings/new/") == text.count("![") == 1
    assert text.startswith((store.path / "README.md").read_text(encoding="utf-8"))


def test_a_card_of_one_store_alone_has_no_rankings_and_one_without_its_own_card_a_title(store):
    text = place_card(repository([], []), store).decode()
    assert f"{URL}/{store.id}" in text
    assert "Rankings" not in text
    assert "![" not in text
    (store.path / "README.md").unlink()
    assert place_card(repository([], []), store).decode().startswith(f"# Activations\n\nStore {store.id}.\n")


def test_a_card_that_somebody_else_wrote_stays_as_it_is(store):
    own = place_card(repository([], []), store)
    assert place_card(repository([], [], readme=own), store) == own
    assert place_card(repository([], [], readme=b"# Ours"), store) is None
    assert place_card(repository([], [], prefix="folder"), store) is None
