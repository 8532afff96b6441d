"""Files of a checkpoint: weights in the precision asked for, nothing left behind, and one text embedding for all rows."""

from __future__ import annotations

import json
import shutil
import threading

import checkpoints_denoisers as tiny
import denoiser_laws as laws
import golden
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, open_checkpoint
from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights
from layerscout.extract.checkpoints.loading import load_model
from layerscout.extract.checkpoints.places.byte_ranges import FolderSource
from layerscout.extract.checkpoints.without_memory import without_memory

SMALL = {"size": [32, 32], "frames": 5}


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    return tiny.save_text(tiny.save_wan(tmp_path_factory.mktemp("wan") / "it"), "UMT5EncoderModel")


@pytest.fixture(scope="module")
def cogvideox(tmp_path_factory):
    return tiny.save_text(tiny.save_cogvideox(tmp_path_factory.mktemp("cogvideox") / "it"))


@pytest.fixture(scope="module")
def ltx(tmp_path_factory):
    return tiny.save_text(tiny.save_ltx(tmp_path_factory.mktemp("ltx") / "it"))


@pytest.fixture
def broken(wan, tmp_path):
    return shutil.copytree(wan, tmp_path / "broken")


def transformer(folder, dtype=torch.float32):
    from diffusers import WanTransformer3DModel

    return load_model(WanTransformer3DModel, folder / "transformer", dtype)


INDEX = "diffusion_pytorch_model.safetensors.index.json"


def weight_files(folder):
    """The files that are loaded."""
    return [folder / name for name in CheckpointFolder(FolderSource(folder)).weights().files]


# --- loading


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_stored_weights_come_in_the_precision_asked_for(broken, stored):
    for file in (broken / "transformer").glob("*.safetensors"):
        save_file({name: tensor.to(stored) for name, tensor in load_file(file).items()}, file)
    stored_weights = {name: tensor for file in weight_files(broken / "transformer") for name, tensor in load_file(file).items()}
    for asked in (torch.float32, torch.bfloat16):
        for name, tensor in transformer(broken, asked).state_dict().items():
            kept = {"time_embedder", "scale_shift_table", "norm2"} & set(name.split("."))
            assert torch.equal(tensor, stored_weights[name].to(torch.float32 if kept else asked)), name


def test_loading_leaves_generators_and_other_modules_alone(wan):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    model = transformer(wan)
    assert torch.equal(torch.rand(3), expected)
    assert nn.Linear(2, 2).weight.device.type == "cpu"
    assert not [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta or tensor.requires_grad]
    assert not model.training


def test_another_threads_modules_are_real_while_one_is_built():
    made = []

    def make() -> nn.Module:
        thread = threading.Thread(target=lambda: made.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        return nn.Linear(2, 2)

    register = nn.Module.register_parameter
    assert without_memory(make).weight.is_meta
    assert not made[0].weight.is_meta
    assert nn.Module.register_parameter is register
    assert not nn.Linear(2, 2).weight.is_meta


class Tables(nn.Module):
    """Parameters and tables of every way in which libraries make them."""

    def __init__(self, piecewise: bool) -> None:
        super().__init__()
        self.big, self.small = nn.Embedding(1000, 8), nn.Parameter(torch.randn(2, 3))
        self.norm, self.given = nn.BatchNorm1d(4), nn.Parameter(torch.ones(3), requires_grad=False)
        table = torch.empty(5) if piecewise else torch.zeros(5)
        for place in range(5):
            table[place] = float(place) ** 2
        self.register_buffer("table", table, persistent=False)


@pytest.mark.parametrize("piecewise", [False, True])
def test_tables_are_real_and_parameters_are_not(piecewise):
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    built = without_memory(lambda: Tables(piecewise))
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.is_meta for parameter in built.parameters())
    assert {name: tuple(value.shape) for name, value in built.named_parameters()} == {
        name: tuple(value.shape) for name, value in Tables(piecewise).named_parameters()
    }
    assert torch.equal(built.table, torch.arange(5.0) ** 2)
    assert torch.equal(built.norm.running_var, torch.ones(4))


def test_a_model_in_memory_does_not_change_with_its_file(broken):
    model = transformer(broken)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for file in weight_files(broken / "transformer"):
        with file.open("r+b") as stream:
            stream.seek(-64, 2)
            stream.write(b"\xff" * 64)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# --- files


def test_a_pickled_shard_is_refused(broken):
    index = broken / "transformer" / INDEX
    index.write_text(index.read_text().replace(".safetensors", ".bin"))
    with pytest.raises(DataError, match="is not the name of a safetensors file"):
        weight_files(broken / "transformer")


def test_a_missing_shard_is_named(broken):
    shard = weight_files(broken / "transformer")[1]
    shard.unlink()
    with pytest.raises(DataError, match=f"misses {shard.name}"):
        find_backbone(f"wan:{broken}", SMALL).load(laws.CPU)


def test_a_digest_is_of_the_files_that_are_there(broken):
    backbone = find_backbone(f"wan:{broken}", SMALL)
    before = backbone.weights_digest()
    assert backbone.weights_digest() == before
    file = weight_files(broken / "transformer")[0]
    weights = load_file(file)
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1}, file, metadata={"format": "pt"})
    assert find_backbone(f"wan:{broken}", SMALL).weights_digest() != before


def test_both_libraries_names_are_known(wan):
    assert [file.name for file in weight_files(wan / "text_encoder")] == ["model.safetensors"]
    assert CheckpointWeights(open_checkpoint(str(wan)), ("text_encoder",)).known_digest().startswith("sha256:")


def test_an_encoder_that_lacks_weights_is_refused(broken):
    file = broken / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lacks 1 weights .*block\.1\.layer\.0\.SelfAttention\.q\.weight"):
        load_text("empty", broken, 4, tiny.TEXT_WIDTH)


# --- text


def test_the_empty_prompt_is_what_the_pipelines_make_of_it(wan, cogvideox, capfd):
    from diffusers import CogVideoXPipeline, LTXPipeline, WanPipeline
    from transformers import AutoTokenizer, T5EncoderModel, UMT5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(wan / "tokenizer")
    umt5 = WanPipeline(tokenizer, UMT5EncoderModel.from_pretrained(wan / "text_encoder"), None, None)
    t5 = T5EncoderModel.from_pretrained(cogvideox / "text_encoder")
    expected = umt5._get_t5_prompt_embeds("", max_sequence_length=6, device=laws.CPU)
    passed = CogVideoXPipeline(tokenizer, t5, None, None, None)._get_t5_prompt_embeds("", max_sequence_length=6, device=laws.CPU)
    masked, mask = LTXPipeline(None, None, t5, tokenizer, None)._get_t5_prompt_embeds("", max_sequence_length=6, device=laws.CPU)
    capfd.readouterr()
    zeroed = load_text("empty", wan, 6, tiny.TEXT_WIDTH, zero_padding=True)
    whole = load_text("empty", cogvideox, 6, tiny.TEXT_WIDTH)
    assert capfd.readouterr() == ("", ""), "no bar of another library on the screen"
    torch.testing.assert_close(zeroed.embedding, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(whole.embedding, passed, atol=1e-6, rtol=1e-5)
    assert (zeroed.embedding[:, 1:] == 0).all()
    assert not (whole.embedding[:, 1:] == 0).any()
    torch.testing.assert_close(whole.embedding, masked, atol=1e-6, rtol=1e-5)
    assert torch.equal(whole.mask, mask.to(torch.float32))


@pytest.mark.parametrize(("family", "length"), [("wan", 512), ("cogvideox", 4), ("ltx", 128)])
def test_the_text_reaches_the_model_and_the_identity(family, length, request, tmp_path):
    folder, options = request.getfixturevalue(family), {"size": [32, 32], "frames": 9}
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    drawn = torch.from_numpy(golden.philox("text").standard_normal((length, tiny.TEXT_WIDTH), dtype="float32"))
    for scale, file in enumerate(files, start=1):
        save_file({"prompt_embeds": scale * drawn}, file)
    backbones = [find_backbone(f"{family}:{folder}", options | {"text": text}) for text in ("zeros", "empty", *map(str, files))]
    identities = [json.dumps([one.identity, one.weights_digest()], sort_keys=True) for one in backbones]
    assert len(set(identities)) == len(backbones)
    assert not [one for one in identities if str(tmp_path) in one]
    clips = golden.clips(backbones[0])
    seen = [golden.activations(one, clips)[one.layers[-1].name] for one in backbones]
    assert not [1 for i, a in enumerate(seen) for b in seen[:i] if torch.allclose(a, b)]


def test_a_file_says_which_tokens_count(tmp_path):
    file = tmp_path / "text.safetensors"
    save_file({"prompt_embeds": torch.ones(1, 4, 8), "prompt_attention_mask": torch.tensor([[1, 1, 0, 0]])}, file)
    text = load_text(str(file), tmp_path, 4, 8)
    assert torch.equal(text.mask, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert text.embedding.shape == (1, 4, 8)


def test_wrong_texts_are_refused(broken, tmp_path):
    file = tmp_path / "text.safetensors"
    save_file({"prompt_embeds": torch.ones(4, 8)}, file)
    with pytest.raises(DataError, match=r"is \(4, 8\) with mask \(4,\), expected \(512, 8\)"):
        find_backbone(f"wan:{broken}", SMALL | {"text": str(file)})
    save_file({"other": torch.ones(4, 8)}, file)
    with pytest.raises(DataError, match="no readable 'prompt_embeds'"):
        find_backbone(f"wan:{broken}", SMALL | {"text": str(file)})
    with pytest.raises(UsageError, match="neither zeros nor empty"):
        find_backbone(f"wan:{broken}", SMALL | {"text": "a robot"})
    for spoilt, expected in (("tokenizer", "the tokenizer in .* cannot be used"), ("text_encoder", "has no text_encoder/config.json")):
        backbone = None if spoilt == "text_encoder" else find_backbone(f"wan:{broken}", SMALL | {"text": "empty"})
        shutil.move(broken / spoilt, tmp_path / spoilt)
        with pytest.raises(DataError, match=expected):
            backbone.load(laws.CPU) if backbone else find_backbone(f"wan:{broken}", SMALL | {"text": "empty"})
        shutil.move(tmp_path / spoilt, broken / spoilt)
