"""What is imported is what the source was: a source that changed is refused, never mixed and never taken for the one before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from foreign_files import CAMERA, LENGTHS, WRITERS, d4rl, frames, images, lerobot, video

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError, UsageError

pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")
pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")
pytestmark = pytest.mark.usefixtures("trusted_hdf5")


def config_of(kind: str, source: Path, out: Path, **options) -> ImportConfig:
    return ImportConfig(source=source, out=out, camera=CAMERA.get(kind), **options)


def damage(path: Path) -> None:
    """Change one byte and nothing that tells so: the size and the time of the last change are those of before."""
    state, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_finished_import_knows_the_source_it_was_made_of(tmp_path, kind):
    source = WRITERS[kind](tmp_path / "in")
    config = config_of(kind, source, tmp_path / "x.h5")
    planned = importing.plan(config)
    importing.run(planned)
    whole = (tmp_path / "x.h5").read_bytes()
    assert importing.plan(config).complete
    importing.run(importing.plan(config))
    assert (tmp_path / "x.h5").read_bytes() == whole
    for name in planned.source.states:
        kept = (planned.source.root / name).read_bytes()
        damage(planned.source.root / name)
        with pytest.raises((DataError, UsageError), match=r"has changed since .*x\.h5 was imported from it|damaged|cannot|not JSON|misses"):
            importing.plan(config)
        (planned.source.root / name).write_bytes(kept)
    assert importing.plan(config).complete  # the same contents again, whatever the clock says


@pytest.mark.parametrize("kind", ["video", "images", "lerobot", "d4rl"])
def test_a_continued_import_is_not_mixed_with_another_source(tmp_path, kind, monkeypatch):
    source = WRITERS[kind](tmp_path / "in")
    config = config_of(kind, source, tmp_path / "x.h5")
    monkeypatch.setattr(importing, "PART_BYTES", 0)  # every episode is made safe at once
    planned = importing.plan(config)
    read, seen = type(planned.importer).episode, []

    def dying(self, item):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(item)
        return read(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(type(planned.importer), "episode", dying)
        with pytest.raises(KeyboardInterrupt):
            importing.run(planned)
    last = max((planned.source.root / name for name in planned.source.states), key=lambda path: path.stat().st_size)
    kept = last.read_bytes()
    damage(last)
    with pytest.raises(DataError, match=r"has changed since .*x\.h5\.parts was imported from it|damaged|cannot be read") as caught:
        importing.plan(config)
    if "changed" in str(caught.value):
        assert f"rm -r {tmp_path / 'x.h5.parts'}" in caught.value.hint
    last.write_bytes(kept)
    importing.run(importing.plan(config))
    with Trajectories(tmp_path / "x.h5") as data:
        assert len(data) == len(LENGTHS)


def test_a_new_file_in_the_folder_and_one_less_are_changes(tmp_path):
    source = video(tmp_path / "in")
    config = ImportConfig(source=source, out=tmp_path / "x.h5")
    importing.run(importing.plan(config))
    shutil.copy(source / "0.mp4", source / "2.mp4")
    with pytest.raises(DataError, match="has changed since"):
        importing.plan(config)
    (source / "2.mp4").unlink()
    (source / "notes.txt").write_text("what is not read is no part of the source")
    assert importing.plan(config).complete
    (source / "1.mp4").unlink()
    with pytest.raises(DataError, match="has changed since"):
        importing.plan(config)


def test_a_video_recorded_again_is_refused_or_begun_again(tmp_path):
    source = video(tmp_path / "in")
    out = tmp_path / "x.h5"
    importing.run(importing.plan(ImportConfig(source=source, out=out)))
    from foreign_videos import write_video

    write_video(source / "0.mp4", np.full((9, 16, 24, 3), 200, np.uint8))
    with pytest.raises(DataError, match="has changed since"):
        importing.plan(ImportConfig(source=source, out=out))
    out.unlink()
    importing.run(importing.plan(ImportConfig(source=source, out=out)))
    with Trajectories(out) as data:
        assert (data.lengths[0], data.episode(0).frames.mean()) == (8, 200)


@pytest.mark.parametrize("when", ["before the run", "between episodes", "while it is read"])
@pytest.mark.parametrize("kind", ["video", "d4rl", "lerobot", "images"])
def test_a_source_that_changes_during_the_import_gives_no_file(tmp_path, monkeypatch, kind, when):
    source = WRITERS[kind](tmp_path / "in")
    planned = importing.plan(config_of(kind, source, tmp_path / "x.h5"))
    last = planned.source.root / list(planned.source.states)[-1]
    read, seen = type(planned.importer).episode, []

    def meddled(self, item):
        seen.append(item.name)
        if when == "between episodes" and len(seen) == 2:
            damage(last)
        episode = read(self, item)
        if when == "while it is read" and len(seen) == 2:
            damage(last)
        return episode

    monkeypatch.setattr(type(planned.importer), "episode", meddled)
    if when == "before the run":
        damage(last)
    with pytest.raises(DataError, match="was changed while it was being imported"):
        importing.run(planned)
    assert not (tmp_path / "x.h5").exists()


def test_files_made_before_imports_noted_what_they_read_are_not_taken_for_complete(tmp_path, monkeypatch):
    source = d4rl(tmp_path / "in")
    config = ImportConfig(source=source, out=tmp_path / "x.h5")
    from layerscout.cache.dataset.recording import TrajectoryWriter

    planned = importing.plan(config)
    writer = TrajectoryWriter(config.out, planned.attributes)
    for item in planned.episodes:
        writer.append(planned.importer.episode(item), item.name)
    writer.commit()
    with pytest.raises(DataError, match="nobody noted what it held") as caught:
        importing.plan(config)
    assert str(config.out) in caught.value.hint
    with Trajectories(config.out) as data:  # it is as readable as it was
        np.testing.assert_array_equal(data.episode(1).frames, frames(LENGTHS[1]))


def test_a_plan_alone_reads_little_and_writes_nothing(tmp_path, monkeypatch):
    """The digest of a source means reading all of it, so a dry run does without, unless there is something to compare it with."""
    source = images(tmp_path / "in")
    from layerscout.cache.importers import fingerprint

    monkeypatch.setattr(fingerprint, "_content", lambda path: pytest.fail("the source was read whole"))
    before = sorted(tmp_path.rglob("*"))
    planned = importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5"))
    assert planned.describe()["source_bytes"] == sum(path.stat().st_size for path in source.rglob("*.png"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_leads_out_of_the_source_is_never_opened(tmp_path):
    """Nor is it waited for: a pipe would wait for ever."""
    source = lerobot(tmp_path / "in")
    os.mkfifo(source / "pipe")
    from layerscout.cache.importers.fingerprint import SourceFiles

    found = SourceFiles.find(source, ["pipe", "../outside", "meta/info.json", "absent"])
    assert [name for name, state in found.states.items() if state] == ["meta/info.json"]
    assert found.digest() == SourceFiles.find(source, ["pipe", "../outside", "meta/info.json", "absent"]).digest()


def test_the_digest_is_of_what_is_read(tmp_path):
    """Another camera's video is not: it may change or be missing."""
    from foreign_videos import CAMERAS, lerobot_episodes, write_lerobot

    source = write_lerobot(tmp_path / "set", "v3.0", lerobot_episodes((3, 3)))
    config = ImportConfig(source=source, out=tmp_path / "x.h5", camera=CAMERAS[0])
    importing.run(importing.plan(config))
    shutil.rmtree(source / "videos" / CAMERAS[1])
    assert importing.plan(config).complete
