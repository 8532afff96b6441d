"""Latents are computed once and kept: the same activations bit for bit, read again for every noise level, continued after a kill."""

from __future__ import annotations

import frames_by_hand
import numpy as np
import pytest
import torch

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.store import Store
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks import cogvideox
from layerscout.extract.clips import clips_of
from layerscout.extract.config import ExtractConfig
from layerscout.extract.index import RowIndex
from layerscout.extract.plan import LATENTS
from layerscout.extract.run import plan, run

OPTIONS = {"frames": 5, "size": (32, 32)}
LENGTHS = (6, 9)
ROWS = sum(LENGTHS) + len(LENGTHS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return frames_by_hand.write(tmp_path_factory.mktemp("latents") / "data.h5", frames_by_hand.random_episodes(LENGTHS))


@pytest.fixture
def config(data, tmp_path, checkpoints):
    def make(sigma: float = 0.2, **changes) -> ExtractConfig:
        common = {
            "backbone": f"cogvideox:{checkpoints.two}",
            "data": data,
            "root": tmp_path,
            "batch": 4,
            "rows_per_chunk": 8,
            "passport_clips": 0,
        }
        return ExtractConfig(**(common | {"backbone_options": OPTIONS | {"sigma": sigma}, "dtype": "float32"} | changes))

    return make


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many clips the VAE has seen, batch by batch."""
    whole, seen = cogvideox.CogVideoX.encode, []
    monkeypatch.setattr(cogvideox.CogVideoX, "encode", lambda self, clip: seen.append(len(clip)) or whole(self, clip))
    return seen


def layers_of(store: Store) -> dict[str, np.ndarray]:
    return {name: store.layer(name).all() for name in store.specs}


@pytest.mark.numeric
def test_activations_from_kept_latents_are_the_same_bit_for_bit(config, tmp_path, encoded):
    without = run(plan(config()))
    assert sum(encoded) == ROWS
    kept = run(plan(config(latents=True, root=tmp_path / "other")))
    assert sum(encoded) == 2 * ROWS
    assert kept.id == without.id
    for name, values in layers_of(without).items():
        np.testing.assert_array_equal(kept.layer(name).all(), values)


def test_the_latents_are_a_store_of_their_own_and_are_what_the_vae_gives(config, data, tmp_path):
    planned = plan(config(latents=True))
    assert planned.latents is not None
    assert planned.describe()["latents_bytes"] == planned.latents.bytes
    run(planned)
    store = Store.open(tmp_path / "stores" / plan(config(sigma=0.9, latents=True)).latents.existing.id)
    backbone = find_backbone(planned.config.backbone, planned.config.backbone_options)
    assert list(store.specs) == [LATENTS]
    assert store.specs[LATENTS].dtype == "float32"
    assert "sigma" not in store.identity["backbone"]
    with Trajectories(data) as trajectories, torch.inference_mode():
        index = RowIndex(trajectories)
        clips = torch.from_numpy(clips_of(trajectories, index.table, 0, ROWS, backbone.clip))
        latents = backbone.load(torch.device("cpu")).encode(clips)
    assert latents.shape[1:] == backbone.latent_shape
    np.testing.assert_allclose(store.layer(LATENTS).all(), latents.flatten(1), atol=1e-5)
    np.testing.assert_array_equal(store.index("episode"), np.repeat(range(len(LENGTHS)), np.array(LENGTHS) + 1))


def test_another_noise_level_reads_the_same_latents(config, encoded):
    run(plan(config(latents=True)))
    seen = sum(encoded)
    assert seen == ROWS
    other = run(plan(config(sigma=0.6, latents=True)))
    assert sum(encoded) == seen, "the VAE did not run again"
    expected = run(plan(config(sigma=0.6, root=other.path.parents[1] / "elsewhere")))
    for name, values in layers_of(expected).items():
        np.testing.assert_array_equal(other.layer(name).all(), values)


@pytest.mark.parametrize("changes", [{"frames": 9}, {"size": (32, 48)}], ids=str)
def test_other_clips_are_other_latents(config, changes):
    first, second = plan(config(latents=True)), plan(config(latents=True, backbone_options=OPTIONS | changes))
    assert first.latents.identity != second.latents.identity


def test_other_numbers_inside_the_vae_are_other_latents(config):
    assert plan(config(latents=True)).latents.identity != plan(config(latents=True, compute="bfloat16")).latents.identity


def test_a_run_that_is_stopped_after_the_latents_does_not_compute_them_again(config, encoded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cogvideox.CogVideoX, "denoise", lambda self, latents: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(plan(config(latents=True)))
    run(plan(config(latents=True)))
    assert sum(encoded) == ROWS


def test_a_chunk_of_latents_holds_whole_batches_and_is_not_large(config, monkeypatch):
    from layerscout.extract import plan as planning

    monkeypatch.setattr(planning, "LATENT_CHUNK_BYTES", 20 * 4 * plan(config(latents=True)).latents.specs[0].width)
    for batch, rows_per_chunk, expected in ((4, 8, 8), (4, 4096, 20), (8, 4096, 16), (64, 4096, 64), (6, 4096, 18)):
        assert plan(config(latents=True, batch=batch, rows_per_chunk=rows_per_chunk)).latents.rows_per_chunk == expected
