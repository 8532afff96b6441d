"""CogVideoX checkpoints as diffusers saves them: read right, or refused with a sentence that says what is wrong."""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.cogvideox import centred_box
from layerscout.extract.config import ExtractConfig
from layerscout.extract.passes.capture import Capture
from layerscout.extract.run import plan, run

OPTIONS = {"size": [32, 32], "frames": 5}
CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"
STYLES = ["two", "five"]


@pytest.fixture
def broken(checkpoints, tmp_path):
    """A copy of the 2b-style checkpoint to spoil."""
    return shutil.copytree(checkpoints.two, tmp_path / "broken")


def describe(folder, **options):
    return find_backbone(f"cogvideox:{folder}", OPTIONS | options)


def load(folder):
    backbone = describe(folder)
    backbone.weights_digest()
    return backbone.load(CPU)


@pytest.mark.parametrize("style", STYLES)
def test_intercept_frames_go_through_end_to_end(style, checkpoints, small, tmp_path):
    config = ExtractConfig(
        backbone=f"cogvideox:{getattr(checkpoints, style)}",
        data=small.intercept,
        root=tmp_path,
        backbone_options=OPTIONS,
        rows_per_chunk=128,
        layers=("transformer_blocks.0", "transformer_blocks.2"),
    )
    store = run(plan(config))
    with Trajectories(small.intercept) as data:
        assert store.rows == int((data.lengths + 1).sum())
    assert list(store.specs) == ["transformer_blocks.0", "transformer_blocks.2", "pixels"]
    for name in store.specs:
        values = store.layer(name).all().astype(np.float32)
        assert np.isfinite(values).all()
        assert values.std(axis=0).max() > 0
    assert plan(config).existing is not None


@pytest.mark.parametrize("style", STYLES)
def test_activations_are_those_of_the_diffusers_models(style, checkpoints):
    """The recipe again with diffusers alone: VAE mode, scaling, a little fixed noise, zero text, one pass."""
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    folder, backbone = getattr(checkpoints, style), describe(getattr(checkpoints, style))
    clips = torch.randint(0, 256, (2, 5, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    captured = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "all/grid2")(clips)

    exact = {"low_cpu_mem_usage": False}
    transformer = CogVideoXTransformer3DModel.from_pretrained(folder, subfolder="transformer", **exact).eval()
    vae = AutoencoderKLCogVideoX.from_pretrained(folder, subfolder="vae", **exact).eval()
    scheduler = CogVideoXDDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    alphas = scheduler.alphas_cumprod
    timestep = int((alphas.sqrt() - (1 - 0.2**2) ** 0.5).abs().argmin())
    assert float((1 - alphas[timestep]).sqrt()) == pytest.approx(0.2, abs=0.01)
    seen = []
    for block in transformer.transformer_blocks:
        block.register_forward_hook(lambda module, arguments, output: seen.append(output[0]))
    with torch.no_grad():
        frames = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        latents = (vae.encode(frames).latent_dist.mode() * vae.config.scaling_factor).permute(0, 2, 1, 3, 4)
        noise = torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal((1, *latents.shape[1:]), dtype=np.float32))
        noised = scheduler.add_noise(latents, noise.expand_as(latents), torch.full((2,), timestep))
        rotary = None
        if style == "five":
            rotary = get_3d_rotary_pos_embed(embed_dim=16, crops_coords=((0, 0), (4, 4)), grid_size=(2, 2), temporal_size=2)
        transformer(noised, torch.zeros(2, 4, 8), torch.full((2,), timestep), image_rotary_emb=rotary)
    for layer, output in zip(backbone.layers, seen, strict=True):
        torch.testing.assert_close(captured[layer.name], output.reshape(2, -1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (8, 8), (30, 45), (45, 30), (16, 90)])
def test_rotary_positions_lie_in_the_box_that_the_pipeline_takes(size):
    (top, left), (bottom, right) = centred_box(size, (30, 45))
    rows, columns = bottom - top, right - left
    assert (rows == 30 and columns <= 45) or (columns == 45 and rows <= 30)
    assert abs(rows / columns - size[0] / size[1]) < 0.05 * size[0] / size[1] + 1 / columns
    assert abs((30 - bottom) - top) <= 1
    assert abs((45 - right) - left) <= 1


def test_a_sharded_checkpoint_gives_the_same_model(checkpoints, tmp_path):
    """Merge the shards by hand: the same numbers from another file are another identity, but the same activations."""
    merged = shutil.copytree(checkpoints.five, tmp_path / "merged")
    shards = sorted((merged / "transformer").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    save_file({name: tensor for shard in shards for name, tensor in load_file(shard).items()}, merged / "transformer" / WEIGHTS)
    for file in (*shards, merged / "transformer" / f"{WEIGHTS}.index.json"):
        file.unlink()
    sharded, whole = load(checkpoints.five).module.state_dict(), load(merged).module.state_dict()
    assert all(torch.equal(sharded[name], whole[name]) for name in whole)
    assert describe(checkpoints.five).weights_digest() != describe(merged).weights_digest()


def test_half_precision_checkpoints_are_computed_in_float32(checkpoints, tmp_path):
    half = shutil.copytree(checkpoints.two, tmp_path / "half")
    file = half / "transformer" / WEIGHTS
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}, file)
    assert {parameter.dtype for parameter in load(half).module.parameters()} == {torch.float32}


# --- identity


def test_every_option_and_every_weight_changes_the_identity(checkpoints, broken, small, tmp_path):
    def identity(folder, **options):
        backbone = f"cogvideox:{folder}"
        return plan(ExtractConfig(backbone=backbone, data=small.intercept, root=tmp_path, backbone_options=OPTIONS | options)).identity

    same = [identity(checkpoints.two), identity(broken), identity(checkpoints.two, sigma=0.2)]
    assert same[0] == same[1] == same[2], "neither the folder's name nor a default spelt out matters"
    others = [identity(checkpoints.two, **option) for option in ({"frames": 9}, {"size": [32, 48]}, {"sigma": 0.3})]
    weights = load_file(broken / "vae" / WEIGHTS)
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1e-3}, broken / "vae" / WEIGHTS)
    others.append(identity(broken))
    others.append(identity(checkpoints.five))
    scheduler = broken / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"snr_shift_scale": 1.0}))
    others.append(identity(broken))
    texts = [json.dumps(one, sort_keys=True) for one in (same[0], *others)]
    assert len(set(texts)) == len(texts)


def test_where_and_by_which_version_it_was_saved_is_no_part_of_the_identity(checkpoints, broken):
    config = broken / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_diffusers_version": "9.9", "_name_or_path": "/somewhere"}))
    assert describe(broken).identity == describe(checkpoints.two).identity


# --- what is refused


def edit_config(folder, part, **changes):
    path = folder / part / "config.json"
    path.write_text(json.dumps({key: value for key, value in (json.loads(path.read_text()) | changes).items() if value != "gone"}))


def spoil_by(action):
    return pytest.param(action, id=action.__name__)


def no_weights(folder):
    (folder / "transformer" / WEIGHTS).unlink()
    return "transformer holds no weights"


def no_vae_weights(folder):
    (folder / "vae" / WEIGHTS).unlink()
    return "vae holds no weights"


def pickled_weights(folder):
    file = folder / "transformer" / WEIGHTS
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    return "only the pickled diffusion_pytorch_model.bin"


def a_missing_weight(folder):
    weights = load_file(folder / "transformer" / WEIGHTS)
    del weights["transformer_blocks.1.attn1.to_q.weight"]
    save_file(weights, folder / "transformer" / WEIGHTS)
    return "lacks 1 weights .* transformer_blocks.1.attn1.to_q.weight"


def a_weight_of_another_shape(folder):
    weights = load_file(folder / "transformer" / WEIGHTS)
    weights["transformer_blocks.1.attn1.to_q.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "transformer" / WEIGHTS)
    return r"transformer_blocks.1.attn1.to_q.weight is \(3, 3\), expected \(32, 32\)"


def truncated_weights(folder):
    file = folder / "transformer" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    return "its tensors end at|bytes .* to .* for"


def no_transformer(folder):
    shutil.rmtree(folder / "transformer")
    return "has no transformer/config.json"


def no_scheduler(folder):
    shutil.rmtree(folder / "scheduler")
    return "has no scheduler/scheduler_config.json"


def a_config_that_is_no_json(folder):
    (folder / "vae" / "config.json").write_text("{")
    return "is not valid JSON"


def another_family(folder):
    edit_config(folder, "transformer", _class_name="WanTransformer3DModel")
    return "describes 'WanTransformer3DModel', expected CogVideoXTransformer3DModel"


def other_channels(folder):
    edit_config(folder, "transformer", in_channels=6)
    return "takes 6 channels and its VAE gives 4"


def a_config_with_a_hole(folder):
    edit_config(folder, "transformer", num_layers="gone")
    return "misses 'num_layers'"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_by(action)
        for action in (
            no_weights,
            no_vae_weights,
            pickled_weights,
            a_missing_weight,
            a_weight_of_another_shape,
            truncated_weights,
            no_transformer,
            no_scheduler,
            a_config_that_is_no_json,
            another_family,
            other_channels,
            a_config_with_a_hole,
        )
    ],
)
def test_a_spoilt_checkpoint_is_refused(broken, spoil):
    expected = spoil(broken)
    with pytest.raises(DataError, match=expected) as error:
        load(broken)
    assert error.value.exit_code == 4
    assert error.value.hint
    assert "\n" not in str(error.value)


def test_a_missing_shard_is_named(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints.five, tmp_path / "five")
    shard = sorted((folder / "transformer").glob("*-of-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(DataError, match=f"misses {shard.name}"):
        load(folder)


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "word"])
def test_a_missing_folder_is_refused_without_asking_the_hub(source, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(DataError, match="no checkpoint folder") as error:
        find_backbone(f"cogvideox:{source}")
    assert error.value.exit_code == 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"frames": 6}, r"4k\+1 frames, not 6; the nearest are 5 and 9"),
        ({"size": [32, 40]}, r"not a multiple of 16 pixels; the nearest is \(32, 32\)"),
        ({"regime": "condition"}, "1.0 was not trained for regime 'condition', only for denoise"),
        ({"sigma": 1.0}, "nothing of the clip is left"),
        ({"sigma": 1.5}, "sigma"),
        ({"frame": 5}, "did you mean 'frames'"),
    ],
)
def test_wrong_options_are_refused(checkpoints, options, expected):
    with pytest.raises(UsageError, match=expected) as error:
        describe(checkpoints.two, **options)
    assert error.value.exit_code == 2


def test_a_source_is_needed():
    with pytest.raises(UsageError, match="needs a checkpoint"):
        find_backbone("cogvideox")
