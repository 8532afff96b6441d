"""Laws of the denoising error: it is of the clip alone, 0 for a model that foretells perfectly, and the same column that an extraction keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from checkpoints_denoisers import save_cogvideox, save_ltx, save_wan

from layerscout.errors import UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes import noise_gap
from layerscout.extract.passes.noise_gap import NoiseGap


def clips_for(gap: NoiseGap, count: int = 2) -> np.ndarray:
    shape = (count, len(gap.clip.offsets), *gap.clip.frame_shape)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def test_a_clips_error_is_its_own():
    gap = NoiseGap(find_backbone("tiny"), noises=2)
    clips = clips_for(gap, 3)
    together = gap(clips)
    assert (together > 0.0).all()
    np.testing.assert_allclose(gap(clips[1:2]), together[1:2], rtol=1e-4)
    np.testing.assert_array_equal(gap(clips), together)


@pytest.mark.parametrize("name", ["wan", "cogvideox", "ltx"])
def test_a_model_that_foretells_perfectly_has_no_error(name, tmp_path, monkeypatch):
    folder = {"wan": save_wan, "cogvideox": save_cogvideox, "ltx": save_ltx}[name](tmp_path / "checkpoint")
    options = {"regime": "denoise"} if name == "ltx" else {}
    gap = NoiseGap(find_backbone(f"{name}:{folder}", options), noises=2)
    clips = clips_for(gap)
    assert (gap(clips) > 0.1).all()
    loaded = gap._loaded

    def perfect(model, latents, noise):  # what the noise and the clean latents are, as the model is given them
        velocity = hasattr(model, "_keep")
        keep, share = (model._keep, model._share) if velocity else (1.0 - gap._sigma, gap._sigma)
        clean = noise_gap._shown(model, latents, torch.zeros_like(model._noise)) / keep
        noisy = noise_gap._shown(model, torch.zeros_like(latents), noise) / share
        return keep * noisy - share * clean if velocity else noisy - clean

    monkeypatch.setattr(noise_gap, "_predicted", perfect)
    np.testing.assert_allclose(gap(clips), 0.0, atol=1e-6)
    given = {}
    handle = loaded.module.register_forward_pre_hook(lambda m, a, named: given.update(named), with_kwargs=True)
    with torch.no_grad():
        latents = loaded.encode(torch.from_numpy(clips))
        loaded.denoise(latents)
    handle.remove()
    keep, share = (loaded._keep, loaded._share) if hasattr(loaded, "_keep") else (1.0 - gap._sigma, gap._sigma)
    clean = noise_gap._shown(loaded, latents, torch.zeros_like(loaded._noise)) / keep
    noisy = noise_gap._shown(loaded, torch.zeros_like(latents), loaded._noise) / share
    torch.testing.assert_close(given["hidden_states"], keep * clean + share * noisy, atol=1e-5, rtol=1e-5)


def test_what_denoises_nothing_is_refused():
    with pytest.raises(UsageError, match="is no video diffusion model"):
        NoiseGap(find_backbone("synthetic"))
