"""Extraction: killed and continued it is bit-equal to an unbroken run; it looks at no later frame; it does nothing twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import weakref
from dataclasses import replace
from pathlib import Path

import frames_by_hand
import numpy as np
import pytest
import torch

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.tiny import tiny as tiny_network
from layerscout.extract.clips import ClipTable, clips_of
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import batches_in_threads, torch_threads
from layerscout.extract.encoder import Encoder, backbone_of
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import pixel_features
from layerscout.extract.run import plan, run

LENGTHS = (12, 1, 25, 7, 30)
ROWS = sum(LENGTHS) + len(LENGTHS)


@pytest.fixture(scope="module")
def episodes():
    return frames_by_hand.random_episodes(LENGTHS)


@pytest.fixture(scope="module")
def data(tmp_path_factory, episodes) -> Path:
    return frames_by_hand.write(tmp_path_factory.mktemp("data") / "data.h5", episodes)


def config(dataset: Path, store_root: Path, **changes) -> ExtractConfig:
    return ExtractConfig(**({"backbone": "tiny", "data": dataset, "root": store_root, "rows_per_chunk": 32, "batch": 10} | changes))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, data) -> Store:
    return run(plan(config(data, tmp_path_factory.mktemp("unbroken"))))


def files_of(store: Store) -> dict[str, bytes]:
    """Every file that numbers come from; manifest and card hold times and are no such files."""
    return {
        path.relative_to(store.path).as_posix(): path.read_bytes()
        for path in sorted(store.path.rglob("*"))
        if path.is_file() and path.name not in {"manifest.json", "README.md"}
    }


def everything_under(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# --- what is stored


@pytest.mark.numeric
def test_rows_are_the_pooled_activations_of_their_clips(unbroken, data):
    backbone = find_backbone("tiny")
    capture = Capture(backbone.load(torch.device("cpu")), backbone.layers, backbone.grid, backbone.default_pooling)
    with Trajectories(data) as trajectories:
        clips = torch.from_numpy(clips_of(trajectories, ClipTable(trajectories.lengths), 0, ROWS, backbone.clip))
    expected = capture(clips) | {"pixels": pixel_features(clips)}
    assert list(unbroken.specs) == list(expected)
    for name, values in expected.items():
        stored = unbroken.layer(name).all()
        assert stored.dtype == np.float16
        np.testing.assert_allclose(stored, values, rtol=2e-3, atol=1e-3 * float(values.abs().max()))


def test_index_columns_say_who_when_and_what(unbroken, episodes):
    row = 0
    columns = {name: unbroken.index(name) for name in ("episode", "step", "action", "reward", "terminated", "truncated", "padding")}
    for number, episode in enumerate(episodes):
        for step in range(len(episode.frames)):
            last = step == len(episode.actions)
            expected = {
                "episode": number,
                "step": step,
                "action": -1 if last else episode.actions[step],
                "reward": np.float32("nan") if last else episode.rewards[step],
                "terminated": False if last else episode.terminated[step],
                "truncated": False if last else episode.truncated[step],
                "padding": max(0, 2 - step),
            }
            np.testing.assert_equal({name: columns[name][row] for name in expected}, expected)
            row += 1
    assert row == unbroken.rows == ROWS


def test_a_dataset_without_rewards_has_none_in_any_row(tmp_path, episodes):
    data = frames_by_hand.write(tmp_path / "data.h5", [replace(episode, rewards=None) for episode in episodes[:2]])
    store = run(plan(config(data, tmp_path, layers=("blocks.0",))))
    assert np.isnan(store.index("reward")).all()


@pytest.mark.parametrize("changes", [{"batch": 3}, {"batch": "auto"}, {"rows_per_chunk": 7}, {"threads": 1}], ids=str)
def test_what_is_no_part_of_the_identity_changes_no_number(unbroken, data, tmp_path, changes):
    store = run(plan(config(data, tmp_path, **changes)))
    assert store.id == unbroken.id
    for name in store.specs:
        expected = unbroken.layer(name).all().astype(np.float32)
        np.testing.assert_allclose(store.layer(name).all(), expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    "changes", [{"backbone": "tiny-untrained"}, {"pooling": "last/mean"}, {"dtype": "float32"}, {"layers": ("blocks.1",)}], ids=str
)
def test_what_changes_numbers_is_part_of_the_identity(unbroken, data, tmp_path, changes):
    planned = plan(config(data, tmp_path, **changes))
    assert planned.identity != unbroken.identity


# --- causality


def test_later_frames_change_no_earlier_row(unbroken, episodes, tmp_path):
    changed = frames_by_hand.write(tmp_path / "data.h5", frames_by_hand.with_other_ending(episodes, episode=2, step=20))
    other = run(plan(config(changed, tmp_path)))
    assert other.id != unbroken.id, "another dataset is another store"
    first = sum(LENGTHS[:2]) + 2
    touched = np.arange(first + 20, first + LENGTHS[2] + 1)
    for name in unbroken.specs:
        before, after = unbroken.layer(name).all(), other.layer(name).all()
        different = np.flatnonzero((before != after).any(axis=1))
        np.testing.assert_array_equal(different, touched, err_msg=f"{name}: exactly the rows from the changed frame on differ")


# --- killed and continued


@pytest.mark.numeric
def test_an_interrupted_run_continues_bit_equal(unbroken, data, tmp_path, monkeypatch):
    written = []
    whole = StoreWriter.write_unit

    def write_and_stop(self, unit, layers, index):
        if len(written) in (1, 2):
            written.append("stopped")
            raise KeyboardInterrupt
        whole(self, unit, layers, index)
        written.append(unit)

    monkeypatch.setattr(StoreWriter, "write_unit", write_and_stop)
    planned = plan(config(data, tmp_path))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(planned)
        assert not (tmp_path / "stores").exists()
    store = run(plan(config(data, tmp_path)))
    assert written == [0, "stopped", "stopped", 1, 2], "no unit is computed twice"
    assert files_of(store) == files_of(unbroken)
    assert not list((tmp_path / "staging").rglob("*.json"))


def test_a_killed_process_is_continued_bit_equal(unbroken, data, tmp_path, monkeypatch):
    """SIGKILL, so that nothing can tidy up."""
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from layerscout.cache.writing.writer import StoreWriter
        from layerscout.extract.config import ExtractConfig
        from layerscout.extract.run import plan, run

        whole = StoreWriter.write_unit
        def write_and_die(self, unit, layers, index):
            whole(self, unit, layers, index)
            if unit == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        StoreWriter.write_unit = write_and_die
        run(plan(ExtractConfig(backbone="tiny", data=Path({str(data)!r}), root=Path({str(tmp_path)!r}), rows_per_chunk=32, batch=10)))
        """
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "stores").exists()
    assert len(list((tmp_path / "staging").rglob("units/*.json"))) == 2
    computed = []
    whole = StoreWriter.write_unit
    monkeypatch.setattr(
        StoreWriter, "write_unit", lambda self, unit, layers, index: (computed.append(unit), whole(self, unit, layers, index))
    )
    store = run(plan(config(data, tmp_path)))
    assert computed == [2]
    assert files_of(store) == files_of(unbroken)


def test_a_second_run_does_nothing(data, unbroken, monkeypatch, tmp_path):
    root = shutil.copytree(unbroken.path.parents[1], tmp_path / "root")
    before = {path: path.stat().st_mtime_ns for path in everything_under(root)}
    monkeypatch.setattr(tiny_network, "Tiny", lambda *a: pytest.fail("the model was loaded"))
    planned = plan(config(data, root))
    assert planned.existing is not None
    assert planned.describe()["bytes"] == 0
    assert planned.describe()["exists"] == unbroken.id
    assert run(planned).id == unbroken.id
    assert {path: path.stat().st_mtime_ns for path in everything_under(root)} == before


def test_some_layers_are_served_by_a_store_with_more(data, unbroken):
    planned = plan(config(data, unbroken.path.parents[1], layers=("blocks.6", "blocks.2")))
    assert planned.existing is not None
    assert planned.existing.id == unbroken.id
    assert plan(config(data, unbroken.path.parents[1], layers=("blocks.2",), pooling="all/mean")).existing is None


def test_fewer_layers_hold_the_same_numbers(data, unbroken, tmp_path):
    store = run(plan(config(data, tmp_path, layers=("blocks.2",))))
    assert list(store.specs) == ["blocks.2", "pixels"]
    for name in store.specs:
        np.testing.assert_array_equal(store.layer(name).all(), unbroken.layer(name).all())


def test_no_more_than_three_units_are_in_memory_whatever_the_number_of_rows(data, tmp_path, monkeypatch):
    """One is written, one filled, one just begun."""
    units, alive = [], []
    whole = StoreWriter.write_unit

    def watched(self, unit, layers, index):
        units.append(weakref.ref(layers["blocks.0"]))
        alive.append(sum(kept() is not None for kept in units))
        whole(self, unit, layers, index)

    monkeypatch.setattr(StoreWriter, "write_unit", watched)
    run(plan(config(data, tmp_path, layers=("blocks.0",), rows_per_chunk=4, batch=2, passport_clips=0)))
    assert len(units) == -(-ROWS // 4)
    assert max(alive) <= 3


# --- plans


def test_a_plan_writes_nothing_and_tells_what_will_be_written(data, tmp_path):
    root = tmp_path / "root"
    described = plan(config(data, root)).describe()
    assert not root.exists()
    assert described["rows"] == ROWS
    assert described["units"] == 3
    assert described["exists"] is None
    store = run(plan(config(data, root)))
    files = [path for path in store.path.rglob("*") if path.is_file()]
    assert described["files"] == len(files)
    total = sum(path.stat().st_size for path in files)
    assert total <= described["bytes"] <= 1.5 * total + 200_000


def test_no_room_is_refused_before_anything_is_written(data, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    root = tmp_path / "root"
    with pytest.raises(BudgetError, match="nothing was written"):
        run(plan(config(data, root)))
    assert not root.exists()


# --- what is not finite


def spoil(monkeypatch, change) -> None:
    """Let ``change(arrays, first row)`` alter what every pass gives, batch after batch."""
    whole, rows = Capture.packed, [0]

    def spoilt(self, clip, *arguments, **named):
        packed = whole(self, clip, *arguments, **named)
        change({name: packed[:, place] for name, place in self.columns().items()}, rows[0])
        rows[0] += len(clip)
        return packed

    monkeypatch.setattr(Capture, "packed", spoilt)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_is_named_with_its_row(data, tmp_path, monkeypatch, bad):
    def change(arrays, first):
        for name in ("blocks.3", "blocks.6"):
            arrays[name][np.flatnonzero(np.arange(first, first + len(arrays[name])) == 41), 5] = bad

    spoil(monkeypatch, change)
    with pytest.raises(DataError, match=rf"layer 'blocks\.3' has {bad} at row 41, computed in float32"):
        run(plan(config(data, tmp_path, threads=1)))
    assert not (tmp_path / "stores").exists()


def test_an_activation_too_large_for_float16_is_named(data, tmp_path, monkeypatch):
    spoil(monkeypatch, lambda arrays, first: [values.add_(1e5) for values in arrays.values()])
    with pytest.raises(DataError, match=r"layer 'blocks\.0' has .* too large for float16"):
        run(plan(config(data, tmp_path)))
    run(plan(config(data, tmp_path, dtype="float32")))


# --- numbers inside the model


def test_a_model_that_computes_in_bfloat16_gives_nearly_the_same_rows_under_another_name(unbroken, data, tmp_path):
    store = run(plan(config(data, tmp_path, compute="bfloat16")))
    assert store.identity == unbroken.identity | {"recipe": unbroken.identity["recipe"] | {"compute_dtype": "bfloat16"}}
    for name in store.specs:
        expected = unbroken.layer(name).all().astype(np.float32)
        found = store.layer(name).all().astype(np.float32)
        assert np.linalg.norm(found - expected) <= 0.03 * np.linalg.norm(expected)
        assert np.array_equal(found, expected) == (name == "pixels"), "only the pixels see no model"
    encoder = Encoder(store, ["blocks.4"])
    with Trajectories(data) as trajectories:
        clips = torch.from_numpy(clips_of(trajectories, ClipTable(trajectories.lengths), 0, 10, encoder.clip))
    np.testing.assert_array_equal(encoder(clips, "blocks.4").numpy().astype(np.float16), store.layer("blocks.4").read(0, 10))


@pytest.mark.parametrize(("compute", "remedy"), [("float16", "--compute bfloat16"), ("bfloat16", "--compute float32")])
def test_an_overflow_inside_the_model_names_the_layer_and_the_next_step(data, tmp_path, monkeypatch, compute, remedy):
    spoil(monkeypatch, lambda arrays, first: arrays["blocks.5"].fill_(float("inf")))
    with pytest.raises(DataError, match=rf"layer 'blocks\.5' has inf at row 0, computed in {compute}") as error:
        run(plan(config(data, tmp_path, compute=compute)))
    assert remedy in error.value.hint


# --- several poolings


def test_several_poolings_of_one_pass_are_those_of_one_each(data, tmp_path):
    names = ("all/mean", "last/grid2", "future/grid4", "all/max", "last/energy")
    store = run(plan(config(data, tmp_path, pooling=names, layers=("blocks.6", "blocks.1"), dtype="float32")))
    assert store.identity["pooling"] == list(names)
    assert list(store.specs) == [f"{layer}@{name.replace('/', '-')}" for layer in ("blocks.6", "blocks.1") for name in names] + ["pixels"]
    encoder = Encoder(store, ["blocks.1@last-grid2", "pixels"])
    with Trajectories(data) as trajectories:
        clips = torch.from_numpy(clips_of(trajectories, ClipTable(trajectories.lengths), 0, 10, encoder.clip))
    np.testing.assert_array_equal(encoder(clips, "blocks.1@last-grid2"), store.layer("blocks.1@last-grid2").read(0, 10))
    for name in names:
        alone = run(plan(config(data, tmp_path, pooling=name, layers=("blocks.6", "blocks.1"), dtype="float32")))
        for layer in ("blocks.6", "blocks.1"):
            expected = alone.layer(layer).all()
            np.testing.assert_allclose(
                store.layer(f"{layer}@{name.replace('/', '-')}").all(), expected, rtol=0, atol=1e-6 * np.abs(expected).max()
            )


def test_one_pooling_may_be_written_with_or_without_a_list(data, tmp_path):
    assert plan(config(data, tmp_path, pooling="last/mean")).identity == plan(config(data, tmp_path, pooling=["last/mean"])).identity
    assert plan(config(data, tmp_path, pooling=None)).identity == plan(config(data, tmp_path)).identity


# --- what is refused


def test_a_gpu_that_is_not_there_is_an_error(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="'cuda' was asked for and torch sees no GPU"):
        plan(config(data, tmp_path, device="cuda"))


@pytest.mark.parametrize("device", ["gpu", "meta", "cpu:x"])
def test_an_unknown_device_is_an_error(data, tmp_path, device):
    with pytest.raises(UsageError, match=f"'{device}'"):
        plan(config(data, tmp_path, device=device))


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"backbone": "tyni"}, UsageError, "did you mean 'tiny'"),
        ({"layers": ("block.1",)}, UsageError, "did you mean 'blocks.1'"),
        ({"layers": ("blocks.1", "blocks.1")}, DataError, "twice"),
        ({"pooling": "median"}, UsageError, "unknown pooling"),
        ({"pooling": ("all/mean", "cls")}, UsageError, "needs a class token"),
        ({"pooling": ("all/mean", "all/mean")}, DataError, "twice"),
        ({"latents": True}, UsageError, "backbone 'tiny' has no latents"),
        ({"pooling": "last/grid3"}, UsageError, "does not divide"),
        ({"backbone": "synthetic"}, DataError, "frames are 32x32x3 and this backbone takes 8x8x2"),
        ({"data": Path("/no/such/file.h5")}, DataError, "no trajectory file"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_anything_is_written(data, tmp_path, changes, kind, expected):
    with pytest.raises(kind, match=expected):
        plan(config(data, tmp_path / "root", **changes))
    assert not (tmp_path / "root").exists()


def test_a_truncated_dataset_is_refused(data, tmp_path):
    torn = tmp_path / "torn.h5"
    torn.write_bytes(data.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"torn\.h5"):
        plan(config(torn, tmp_path / "root"))


# --- the store's backbone again, for agents that act


@pytest.mark.numeric
def test_an_encoder_gives_the_stored_rows(unbroken, data):
    encoder = Encoder(unbroken, ["blocks.4", "pixels"])
    with Trajectories(data) as trajectories:
        clips = torch.from_numpy(clips_of(trajectories, ClipTable(trajectories.lengths), 0, ROWS, encoder.clip))
    for low in range(0, ROWS, 9):
        for name in ("blocks.4", "pixels"):
            stored = unbroken.layer(name).read(low, min(ROWS, low + 9))
            np.testing.assert_allclose(encoder(clips[low : low + 9], name), stored, rtol=2e-3, atol=1e-3 * np.abs(stored).max())


def test_pixels_alone_need_no_model(unbroken, monkeypatch):
    monkeypatch.setattr(tiny_network, "Tiny", lambda *a: pytest.fail("the model was loaded"))
    clip = torch.zeros((1, 3, 32, 32, 3), dtype=torch.uint8)
    torch.testing.assert_close(Encoder(unbroken, ["pixels"])(clip, "pixels"), pixel_features(clip))


def test_other_weights_than_the_stores_are_refused(unbroken, monkeypatch):
    assert backbone_of(unbroken).name == "tiny"
    monkeypatch.setattr(tiny, "weights", lambda model: b"other weights")
    with pytest.raises(DataError, match="weights_digest is sha256:") as error:
        backbone_of(unbroken)
    assert error.value.hint == "extract again: layerscout extract tiny DATA"


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        assert list(batches_in_threads(lambda item: torch.get_num_threads(), range(6), 2)) == [1] * 6
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
