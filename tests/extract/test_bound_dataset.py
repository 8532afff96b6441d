"""What was planned is what is read: a dataset that is changed or replaced meanwhile gives no store, and an error that names the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import frames_by_hand
import pytest

from layerscout.cache.dataset.trajectories import BoundDataset, Trajectories
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import DataError
from layerscout.extract import cluster
from layerscout.extract.config import ExtractConfig
from layerscout.extract.passes.fill import fill_units, open_writer
from layerscout.extract.run import plan, run

LENGTHS = (9, 4, 14)
UNITS = 5


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """Two datasets of one shape, whose files have one size."""
    folder, found = tmp_path_factory.mktemp("files"), []
    for seed in (0, 1):
        episodes = frames_by_hand.random_episodes(LENGTHS, frames_by_hand.PLANES, seed=seed)
        found.append(frames_by_hand.write(folder / f"{seed}.h5", episodes))
    return found[0], found[1]


@pytest.fixture
def data(files, tmp_path) -> Path:
    return Path(shutil.copy(files[0], tmp_path / "data.h5"))


@pytest.fixture
def planned(data, tmp_path):
    settings = {"rows_per_chunk": 6, "batch": 3, "passport_clips": 0}
    return plan(ExtractConfig(backbone="synthetic", data=data, root=tmp_path / "root", **settings))


def replaced(data: Path, other: Path) -> None:
    """As a program does that writes whole files."""
    shutil.copy(other, data.with_suffix(".new"))
    data.with_suffix(".new").replace(data)


def overwritten(data: Path, other: Path) -> None:
    """In place, and with the old time of writing."""
    times = data.stat()
    with data.open("r+b") as file:
        file.write(other.read_bytes())
        file.truncate()
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))


def removed(data: Path, other: Path) -> None:
    data.unlink()


CHANGES = pytest.mark.parametrize("change", [replaced, overwritten, removed])


def nothing_was_published(root: Path) -> bool:
    return not list(root.glob("stores/*"))


@CHANGES
def test_another_dataset_after_the_plan_is_refused(data, files, planned, change):
    change(data, files[1])
    with pytest.raises(DataError, match=r"data\.h5"):
        run(planned)
    assert nothing_was_published(planned.root)
    replaced(data, files[0])
    assert run(plan(planned.config)).rows == sum(LENGTHS) + len(LENGTHS)


@CHANGES
def test_another_dataset_in_the_middle_ends_the_work_before_a_unit_of_it_is_written(data, files, planned, change, monkeypatch, tmp_path):
    expected = run(plan(planned.config.model_copy(update={"root": tmp_path / "unbroken"})))
    written: list[int] = []
    write = StoreWriter.write_unit

    def counted(writer, unit, *arrays):
        write(writer, unit, *arrays)
        written.append(unit)
        if len(written) == 2:
            change(data, files[1])

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write_unit", counted)
        with pytest.raises(DataError, match=r"data\.h5"):
            run(planned)
    assert 2 <= len(written) < UNITS
    assert nothing_was_published(planned.root)
    replaced(data, files[0])
    store = run(plan(planned.config))  # which takes over the units that were finished
    assert store.id == expected.id
    for name in expected.specs:
        assert store.layer(name).all().tobytes() == expected.layer(name).all().tobytes()


@CHANGES
def test_another_dataset_right_before_the_commit_is_refused(data, files, planned, change, monkeypatch):
    write = StoreWriter.write_unit

    def last(writer, unit, *arrays):
        write(writer, unit, *arrays)
        if not writer.pending():
            change(data, files[1])

    monkeypatch.setattr(StoreWriter, "write_unit", last)
    with pytest.raises(DataError, match=r"data\.h5"):
        run(planned)
    assert nothing_was_published(planned.root)


def test_a_copy_of_the_planned_file_is_the_planned_dataset(data, files, planned):
    """Its inode and times are others, its content is not."""
    replaced(data, files[0])
    assert run(planned).identity["dataset"]["digest"] == planned.data.digest


def described(planned) -> cluster.Described:
    settings = planned.config.model_dump_json()
    return settings, planned.data, False, cluster.identity_digest(planned.identity), False


@CHANGES
def test_a_worker_reads_what_the_client_planned(data, files, planned, change):
    change(data, files[1])
    with pytest.raises(DataError, match=r"data\.h5"):
        cluster._load(*described(planned))


@CHANGES
def test_a_worker_writes_nothing_of_a_dataset_that_changes_under_it(data, files, planned, change):
    extractor, writer = cluster._load(*described(planned))
    fill_units(extractor, writer, [0])
    change(data, files[1])
    with pytest.raises(DataError, match=r"data\.h5"):
        fill_units(extractor, writer, [1])
    writer.release()
    assert open_writer(planned).pending() == list(range(1, UNITS))


def test_what_workers_computed_of_another_dataset_is_deleted(data, files, planned, monkeypatch):
    """A worker's disk may tell it late that the file is another one. Whoever asked for the work looks again at the end."""
    scheduled = planned.config.model_copy(update={"scheduler": "tcp://nowhere:1"})
    replan = plan(scheduled, planned.data)

    def work(asked, pending, task):
        worker, writer = cluster._load(*described(planned))
        overwritten(data, files[1])
        monkeypatch.setattr(Trajectories, "require_unchanged", lambda self: None)
        fill_units(worker, writer, pending)
        monkeypatch.undo()
        writer.release()
        return {}

    monkeypatch.setattr(cluster, "fill_on_cluster", work)
    with pytest.raises(DataError, match=r"data\.h5"):
        run(replan)
    assert nothing_was_published(planned.root)
    replaced(data, files[0])
    assert open_writer(plan(planned.config)).pending() == list(range(UNITS))


def test_a_binding_tells_datasets_apart_by_content_and_files_by_state(files):
    with Trajectories(files[0]) as one, Trajectories(files[1]) as other:
        first, second = one.bound(), other.bound()
    assert first.digest != second.digest
    with Trajectories(files[0], first) as again:
        assert again.bound() == first
    with Trajectories(files[0], BoundDataset(first.path, first.digest, second.state)) as again:
        assert again.bound() == first
    with pytest.raises(DataError, match="is not the dataset that was planned"):
        Trajectories(files[0], second)
