"""Tiny CogVideoX checkpoints as diffusers itself saves them; a hub of our own to get checkpoints from; no network at all."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import hub_by_hand
import numpy as np
import pytest

TRANSFORMER = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 16,
    "text_embed_dim": 8,
    "num_layers": 3,
    "sample_width": 8,
    "sample_height": 8,
    "sample_frames": 9,
    "patch_size": 2,
    "max_text_seq_length": 4,
}


def save_checkpoint(folder: Path, max_shard_size: str = "5GB", **changes) -> Path:
    """Write transformer, VAE and scheduler with random weights; ``changes`` go to the transformer's configuration."""
    import torch
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = CogVideoXTransformer3DModel(**(TRANSFORMER | changes))
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=4, scaling_factor=0.7
        )
    transformer.save_pretrained(folder / "transformer", max_shard_size=max_shard_size)
    vae.save_pretrained(folder / "vae")
    CogVideoXDDIMScheduler(rescale_betas_zero_snr=True, snr_shift_scale=3.0).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """``two`` has fixed position embeddings as CogVideoX-2b, ``five`` rotary ones and several shards as CogVideoX-5b."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return SimpleNamespace(
        two=save_checkpoint(folder / "two"),
        five=save_checkpoint(folder / "five", "60KB", use_rotary_positional_embeddings=True),
    )


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of our own, and an empty cache of the hub's library; ``hub.cache`` is its folder."""
    from huggingface_hub import constants

    with hub_by_hand.serve() as running:
        running.cache = tmp_path / "hub-cache"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(running.cache))
        yield running


@pytest.fixture
def no_network(monkeypatch):
    """Every connection fails, as it does without a network."""
    import socket

    def refused(*arguments, **named):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that trains a model, which the tests' own module names as ``SCRIPT``."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module(request.module.SCRIPT)


@pytest.fixture
def videos(script: ModuleType) -> np.ndarray:
    """64 clips of Intercept from episodes that pretraining did not see."""
    return script.clips(script.play("layerscout/Intercept-v0", 8, seed=3), script.OFFSETS, 64, np.random.default_rng(0))[0]
