"""What importers and writers rest on, each by a law of its own: names of strangers, quarters of a turn, cuts, files that are still the same."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from layerscout.cache.file_state import FileState
from layerscout.cache.identity import identity_digest
from layerscout.cache.importers.formats.flat_rows import cut_rows
from layerscout.cache.importers.safety import fill_template, natural_order, path_inside
from layerscout.cache.importers.video.orientation import upright
from layerscout.cache.testing import made_up
from layerscout.cache.writing import staging
from layerscout.cache.writing.units import UnitMarker, finished_unit_objects
from layerscout.errors import DataError


def test_a_file_is_no_longer_the_same_after_any_change_even_one_that_hides_its_time(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = FileState.of(path)
    assert before.is_of(os.stat(path))
    path.write_bytes(b"two")
    os.utime(path, ns=(before.modified, before.modified))
    after = os.stat(path)
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.size, before.modified, before.inode), "only the change time differs"
    assert not before.is_of(after)


@pytest.mark.parametrize("name", ["inode", "size", "changed"])
def test_a_state_is_that_of_one_file_of_one_size_since_one_change(tmp_path, name):
    (tmp_path / "file").write_bytes(b"one")
    state = FileState.of(tmp_path / "file")
    assert not state._replace(**{name: getattr(state, name) + 1}).is_of(os.stat(tmp_path / "file"))


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "plain" / "dataset"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "file").write_bytes(b"1")
    (tmp_path / "secret").write_bytes(b"2")
    (folder / "within").symlink_to(folder / "in" / "file")
    (folder / "without").symlink_to(tmp_path / "secret")
    return folder


@pytest.mark.parametrize("name", ["../../secret", "in/../../../secret", "without", "missing", "in/\0", "n" * 300])
def test_a_strangers_path_never_leaves_its_folder(dataset, name):
    with pytest.raises(DataError):
        path_inside(dataset, name)
    with pytest.raises(DataError):
        path_inside(dataset, str(dataset / "in" / "file"))


def test_links_inside_and_to_the_blobs_of_a_snapshot_are_followed(dataset, tmp_path):
    assert path_inside(dataset, "within").read_bytes() == b"1"
    snapshot, blob = tmp_path / "snapshots" / "abc", tmp_path / "blobs" / "ff"
    snapshot.mkdir(parents=True)
    blob.parent.mkdir()
    blob.write_bytes(b"3")
    (snapshot / "file").symlink_to(blob)
    assert path_inside(snapshot, "file").read_bytes() == b"3"
    (dataset / "file").symlink_to(blob)
    with pytest.raises(DataError):
        path_inside(dataset, "file")  # no snapshot: nothing beside it is its own


def test_a_template_has_places_for_known_names_and_nothing_else_of_python():
    assert fill_template("{key}/chunk-{chunk:03d}/{file:06d}", {"key": "front", "chunk": 7, "file": 12}) == "front/chunk-007/000012"
    assert fill_template("{key:03d}", {"key": "a"}) == "a", "words are not padded"
    for wrong in ("{other}", "{key.__class__}", "{key!r}", "{{key}}", "{key:>9}", "{"):
        with pytest.raises(DataError):
            fill_template(wrong, {"key": "a"})


def test_numbers_in_names_sort_as_numbers():
    names = ["frame_10", "frame_2", "frame_2b", "a", "frame_1_3", "frame_1_12"]
    assert sorted(names, key=natural_order) == ["a", "frame_1_3", "frame_1_12", "frame_2", "frame_2b", "frame_10"]


@pytest.mark.parametrize("swaps", [False, True])
@pytest.mark.parametrize(("first", "second"), list(itertools.product((1, -1), repeat=2)))
def test_every_pixel_goes_where_the_display_matrix_sends_it(swaps, first, second):
    picture = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3, 1)
    across, down, back, along = (0, first, second, 0) if swaps else (first, 0, 0, second)
    rows, columns = np.mgrid[:2, :3]
    x, y = across * columns + back * rows, down * columns + along * rows
    expected = np.zeros((3, 2, 1) if swaps else (2, 3, 1), np.uint8)
    expected[y - y.min(), x - x.min()] = picture
    np.testing.assert_array_equal(upright(picture, (across << 16, down << 16, 0, back << 16, along << 16, 0, 0, 0, 1 << 30)), expected)


def test_a_turn_by_less_than_a_quarter_is_refused():
    with pytest.raises(DataError, match="no quarter"):
        upright(np.zeros((2, 3, 1), np.uint8), (46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30))


@pytest.mark.parametrize("longest", [None, 1, 2, 4])
@pytest.mark.parametrize("count", range(6))
def test_every_row_lies_in_one_piece_that_ends_no_later_than_its_episode(count, longest):
    for flags in itertools.product((False, True), repeat=count):
        pieces = cut_rows(np.array(flags, bool), count, longest)
        assert [row for start, stop in pieces for row in range(start, stop)] == list(range(count))
        assert all(stop - start <= (longest or count) and not any(flags[start : stop - 1]) for start, stop in pieces)
        if longest is None:
            assert all(flags[stop - 1] or stop == count for _, stop in pieces), "cut only where an episode ends"


def test_a_unit_is_finished_only_by_its_own_marker_and_whole_files(tmp_path):
    small = made_up(0)
    writer = small.open(tmp_path)
    for unit in (0, 1):
        writer.write_unit(unit, *small.of_span(*writer.span(unit)))
    [attempt] = (path for path in (tmp_path / "staging" / small.id).iterdir() if path.is_dir())
    digest = identity_digest(small.identity)

    def finished(unit: int, own: str = digest) -> bool:
        return finished_unit_objects(attempt, unit, writer.layout, own) is not None

    assert finished(0)
    assert finished(1)
    assert not finished(0, "sha256:00"), "it belongs to another identity"
    markers = attempt / staging.UNITS
    whole = (markers / "0.json").read_bytes()
    (markers / "0.json").write_bytes((markers / "1.json").read_bytes())
    assert not finished(0), "the marker is another unit's"
    objects = UnitMarker.model_validate_json(whole).objects
    (markers / "0.json").write_text(UnitMarker.of(digest, 1, objects).model_dump_json())
    assert not finished(0), "the marker tells of another unit, if of these files"
    (markers / "0.json").write_bytes(whole[:-9])
    assert not finished(0), "the marker is cut short"
    (markers / "0.json").write_bytes(whole)
    file = attempt / staging.TREE / finished_unit_objects(attempt, 0, writer.layout, digest)[0].path
    file.write_bytes(file.read_bytes()[:-1])
    assert not finished(0), "a file is cut short"
    assert finished(1)
