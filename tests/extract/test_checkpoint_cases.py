"""Checkpoints as they are found in the world, through whole models: what is read gives the library's own numbers, the rest is refused."""

from __future__ import annotations

import json
import shutil

import checkpoints_denoisers as denoisers
import checkpoints_encoders as encoders
import golden
import pytest
import torch
from safetensors.torch import load_file, save_file

from layerscout.errors import DataError, MissingExtraError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.block_file import read_block
from layerscout.extract.checkpoints.checking import check_weights
from layerscout.extract.checkpoints.loading import load_model
from layerscout.extract.config import ExtractConfig
from layerscout.extract.run import plan, run

CPU = torch.device("cpu")
SMALL = {"size": [32, 32], "frames": 5}
FILE, INDEX = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json"
BLOCK = "blocks.1"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A Wan checkpoint whose transformer is one file, and its weights."""
    folder = denoisers.save_wan(tmp_path_factory.mktemp("wan") / "it")
    part = folder / "transformer"
    weights = {name: value for shard in sorted(part.glob("*.safetensors")) for name, value in load_file(shard).items()}
    for file in part.glob("diffusion*"):
        file.unlink()
    save_file(weights, part / FILE, metadata={"format": "pt"})
    return folder, weights


@pytest.fixture
def wan(kept, tmp_path):
    """A copy to be changed; its transformer's folder."""
    return shutil.copytree(kept[0], tmp_path / "wan") / "transformer"


def transformer(part):
    from diffusers import WanTransformer3DModel

    return load_model(WanTransformer3DModel, part)


def described(part, **options):
    return find_backbone(f"wan:{part.parent}", SMALL | options)


def sharded(part, weights, shards=2) -> list[str]:
    """Write weights over shards with an index, each n-th tensor into the n-th."""
    (part / FILE).unlink(missing_ok=True)
    names = [f"diffusion_pytorch_model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    held = {name: names[i % shards] for i, name in enumerate(sorted(weights))}
    for file in names:
        save_file({name: value for name, value in weights.items() if held[name] == file}, part / file, metadata={"format": "pt"})
    (part / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": held}))
    return names


def quantised(weights, dtype, spelling) -> dict[str, torch.Tensor]:
    """Matrices of the blocks in 8 bits with a scale beside each."""
    most, out = {torch.float8_e4m3fn: 448.0, torch.int8: 127.0}[dtype], {}
    for name, value in weights.items():
        if value.ndim == 2 and name.startswith("blocks.") and "table" not in name:
            scale = value.abs().max() / most
            numbers = value / scale
            out[name] = (numbers.round() if dtype is torch.int8 else numbers).to(dtype)
            out[name.removesuffix("weight") + spelling] = scale.reshape(())
        else:
            out[name] = value
    return out


def refused(part, message, hint="") -> None:
    """The description says it, and so does loading by itself."""
    for use in (lambda: described(part), lambda: transformer(part), lambda: read_block(part.parent, BLOCK, "transformer")):
        with pytest.raises(DataError, match=message) as error:
            use()
        assert hint in error.value.hint


# --- scales


@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize(("dtype", "spelling"), [(torch.float8_e4m3fn, "weight_scale"), (torch.int8, "scale_weight")])
def test_eight_bits_with_a_scale_give_the_models_activations(dtype, spelling, shards, kept, wan):
    _, weights = kept
    plain = golden.activations(described(wan), golden.clips(described(wan)))
    before = described(wan).weights_digest()
    held = quantised(weights, dtype, spelling)
    sharded(wan, held, shards) if shards else save_file(held, wan / FILE, metadata={"format": "pt"})
    backbone = described(wan)
    for name, value in golden.activations(backbone, golden.clips(backbone)).items():
        assert (value - plain[name]).norm() / plain[name].norm() < 0.03, name
    assert backbone.weights_digest() != before
    whole = transformer(wan).get_submodule(BLOCK).state_dict()
    alone = read_block(wan.parent, BLOCK, "transformer")
    assert all(torch.equal(value, whole[name]) for name, value in alone.block.state_dict().items())


def test_the_same_numbers_with_their_scale_and_without_are_two_identities(kept, wan):
    """Files alone do not say it: numbers that are multiplied are others than the same numbers as they stand."""
    held = quantised(kept[1], torch.float8_e4m3fn, "weight_scale")
    save_file(held, wan / FILE, metadata={"format": "pt"})
    weights = described(wan).weights
    layout = weights.part("transformer").stored({}).layout
    assert layout.described == "times weight_scale"
    assert len(layout.scales) == sum(name.endswith("weight_scale") for name in held)


def test_a_plain_cast_to_eight_bits_stands_as_it_is(kept, wan):
    weights = {name: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value for name, value in kept[1].items()}
    save_file(weights, wan / FILE, metadata={"format": "pt"})
    for name, value in transformer(wan).state_dict().items():
        assert torch.equal(value, weights[name].float()), name


def test_an_encoder_of_transformers_in_eight_bits(tmp_path):
    folder = encoders.save(tmp_path / "it", "videomae")
    before = find_backbone(f"videomae:{folder}").load(CPU).module.state_dict()
    held = load_file(folder / "model.safetensors")
    name = next(name for name in held if name.endswith("layer.1.intermediate.dense.weight"))
    scale = held[name].abs().max() / 448
    held[name], held[name.removesuffix("weight") + "weight_scale"] = (held[name] / scale).to(torch.float8_e4m3fn), scale
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    for key, value in find_backbone(f"videomae:{folder}").load(CPU).module.state_dict().items():
        assert (value - before[key]).norm() <= 0.04 * before[key].norm(), key


def test_other_formats_are_refused_when_the_model_is_described(kept, wan):
    save_file(quantised(kept[1], torch.int8, "SCB"), wan / FILE, metadata={"format": "pt"})
    refused(wan, "is quantised by bitsandbytes, first blocks.0", "bfloat16")
    save_file(kept[1], wan / FILE, metadata={"format": "pt"})
    config = wan / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "gguf"}}))
    refused(wan, "is quantised by gguf", "bfloat16")


def test_integers_where_the_model_has_floats_are_refused(kept, wan):
    name = "blocks.0.attn1.to_q.weight"
    save_file(kept[1] | {name: kept[1][name].to(torch.int32)}, wan / FILE, metadata={"format": "pt"})
    with pytest.raises(DataError, match=rf"holds I32 numbers for {name}, where the model has floats"):
        transformer(wan)


# --- which files


def test_a_variant_alone_gives_the_same_model(kept, wan):
    model = transformer(wan)
    for shard in ("10GB", "40KB"):
        for file in wan.glob("diffusion*"):
            file.unlink()
        model.save_pretrained(wan, variant="fp16", max_shard_size=shard)
        assert all(torch.equal(value, kept[1][name]) for name, value in transformer(wan).state_dict().items())
        read_block(wan.parent, BLOCK, "transformer")


def test_an_older_index_is_passed_over_for_the_whole_file(tmp_path):
    """The digest, the description and the weights are those of the file that is complete."""
    folder = encoders.save(tmp_path / "it", "vjepa2", max_shard_size="60KB")
    index = (folder / "model.safetensors.index.json").read_text()
    for file in folder.glob("model*"):
        file.unlink()
    encoders.save(folder, "vjepa2")
    held = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in held.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    alone = find_backbone(f"vjepa2:{folder}").weights_digest()
    (folder / "model.safetensors.index.json").write_text(index)
    backbone = find_backbone(f"vjepa2:{folder}")
    assert backbone.weights_digest() == alone
    assert all(torch.equal(value, held[name] + 1) for name, value in backbone.load(CPU).module.state_dict().items())
    read_block(folder, "encoder.layer.0")


def test_two_complete_sets_are_refused_by_every_reader(kept, wan):
    sharded(wan, kept[1])
    save_file(kept[1], wan / FILE, metadata={"format": "pt"})
    message = "holds two sets of weights"
    for use in (
        lambda: described(wan).weights_digest(),
        lambda: described(wan).load(CPU),
        lambda: read_block(wan.parent, BLOCK, "transformer"),
    ):
        with pytest.raises(DataError, match=message):
            use()


# --- what belongs to nothing


def test_adapters_beside_the_weights_are_refused(kept, wan):
    name, extra = "blocks.0.attn1.to_q.", {}
    extra[name + "lora_A.default.weight"], extra[name + "lora_B.default.weight"] = torch.ones(4, 24), torch.ones(24, 4)
    save_file(kept[1] | extra, wan / FILE, metadata={"format": "pt"})
    refused(wan, r"holds 2 tensors \(blocks.0.attn1.to_q.lora_A.default.weight, .*of an adapter that is not merged", "fuse_lora")
    moved = {key: value for key, value in kept[1].items() if key != name + "weight"}
    save_file(moved | extra | {name + "base_layer.weight": kept[1][name + "weight"]}, wan / FILE, metadata={"format": "pt"})
    refused(wan, "of an adapter that is not merged", "fuse_lora")


def test_tensors_that_belong_to_nothing_are_refused_and_the_first_three_named(kept, wan):
    extra = {f"blocks.{i}.attn1.to_x.weight": torch.ones(2) for i in range(5)}
    save_file(kept[1] | extra, wan / FILE, metadata={"format": "pt"})
    for use in (
        lambda: transformer(wan),
        lambda: check_weights(described(wan).weights),
        lambda: read_block(wan.parent, BLOCK, "transformer"),
    ):
        with pytest.raises(
            DataError, match=r"5 tensors belong \(blocks.0.attn1.to_x.weight, blocks.1.*, blocks.2.*, …\) to nothing in Wan"
        ):
            use()


def test_what_the_library_itself_passes_over_is_passed_over(kept, wan):
    save_file(kept[1] | {"blocks.0.attn2.norm_added_q.weight": torch.ones(2)}, wan / FILE, metadata={"format": "pt"})
    transformer(wan)
    check_weights(described(wan).weights)


def test_two_names_of_one_weight_are_refused(tmp_path):
    folder = encoders.save(tmp_path / "it", "videomae")
    held = load_file(folder / "model.safetensors")
    name = next(name for name in held if name.endswith("layer.1.intermediate.dense.weight"))
    save_file(held | {f"videomae.{name}": held[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="which are the same weight"):
        find_backbone(f"videomae:{folder}").load(CPU)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("videomae", "ForPreTraining"),
        ("videomae", "ForVideoClassification"),
        ("timesformer", "ForVideoClassification"),
        ("vivit", "ForVideoClassification"),
        ("vjepa2", "ForVideoClassification"),
    ],
)
def test_heads_and_decoders_are_known(family, kind, tmp_path):
    folder = encoders.save(tmp_path / "it", family, kind)
    backbone = find_backbone(f"{family}:{folder}")
    check_weights(backbone.weights)
    assert backbone.load(CPU)
    held = load_file(folder / "model.safetensors")
    save_file(held | {"encoder.layer.0.strange.weight": torch.ones(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"1 tensor belongs \(encoder.layer.0.strange.weight\) to nothing"):
        check_weights(find_backbone(f"{family}:{folder}").weights)


def test_a_load_that_does_not_fit_names_three_tensors_and_their_number(kept, wan):
    save_file({name: value for name, value in kept[1].items() if "blocks.1." not in name}, wan / FILE, metadata={"format": "pt"})
    count = sum("blocks.1." in name for name in kept[1])
    for use in (lambda: transformer(wan), lambda: check_weights(described(wan).weights)):
        with pytest.raises(
            DataError, match=rf"lacks {count} weights of its configuration, first blocks\.1\.\S+, blocks\.1\.\S+, blocks\.1\.\S+, …"
        ) as error:
            use()
        assert len(str(error.value)) < 400 + len(str(wan))


# --- what is known to be right


@pytest.mark.parametrize("tied", [True, False])
def test_a_text_encoder_that_holds_its_embedding_once_gives_the_librarys_numbers(tied, tmp_path):
    import transformers

    folder = denoisers.save_text(tmp_path, "UMT5EncoderModel") / "text_encoder"
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": tied}))
    held = load_file(folder / "model.safetensors")
    held.pop("encoder.embed_tokens.weight", None)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    model = transformers.UMT5EncoderModel.from_pretrained(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "tokenizer")(
        [""], padding="max_length", max_length=6, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state * tokens.attention_mask[..., None]
    torch.testing.assert_close(
        load_text("empty", tmp_path, 6, denoisers.TEXT_WIDTH, zero_padding=True).embedding, expected, atol=1e-6, rtol=1e-5
    )


def test_a_part_given_in_place_of_the_whole_is_told_so(wan):
    with pytest.raises(DataError, match=r"has no transformer/model_index\.json") as error:
        find_backbone(f"wan:{wan}")
    assert str(wan.parent) in error.value.hint
    for name in ("wan.safetensors", "wan-Q4_K_M.gguf"):
        (wan / name).write_bytes(b"x")
        with pytest.raises(DataError, match="is a file, expected the folder"):
            find_backbone(f"wan:{wan / name}")


# --- bound to the digest


def test_weights_and_configurations_are_those_that_were_described_and_hashed(kept, wan):
    backbone = described(wan)
    backbone.weights_digest()
    config = wan / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eps": 0.5}))
    assert backbone.load(CPU).module.config.eps != 0.5, "what was described is what is loaded"
    save_file({name: value + 1 for name, value in kept[1].items()}, wan / FILE, metadata={"format": "pt"})
    with pytest.raises(DataError, match="was changed since its digest was taken") as error:
        backbone.load(CPU)
    assert "again" in error.value.hint
    assert described(wan).load(CPU)


def test_a_file_that_replaces_another_is_noticed_too(kept, wan):
    backbone = described(wan)
    backbone.weights_digest()
    save_file(kept[1], wan / "other.safetensors", metadata={"format": "pt"})
    (wan / "other.safetensors").replace(wan / FILE)
    with pytest.raises(DataError, match="was changed since its digest was taken"):
        backbone.load(CPU)


def test_an_extraction_ends_before_a_row_of_other_weights_is_kept(kept, wan, small, tmp_path):
    """What was planned is what is computed, or nothing."""
    options = {"backbone_options": SMALL, "layers": ("blocks.0",), "root": tmp_path / "root", "passport_clips": 0}
    planned = plan(ExtractConfig(backbone=f"wan:{wan.parent}", data=small.intercept, **options))
    save_file({name: value + 1 for name, value in kept[1].items()}, wan / FILE, metadata={"format": "pt"})
    with pytest.raises(DataError, match="was changed since its digest was taken"):
        run(planned)
    assert not (tmp_path / "root" / "stores").exists()


# --- the libraries themselves


def test_a_checkpoint_in_another_programs_layout_is_told_so(kept, wan):
    save_file({f"model.diffusion_model.{name}": value for name, value in kept[1].items()}, wan / FILE, metadata={"format": "pt"})
    with pytest.raises(
        DataError, match=r"holds no weight of WanTransformer3DModel: its tensors are called model\.diffusion_model\."
    ) as error:
        transformer(wan)
    assert "convert" in error.value.hint


def test_a_library_that_loads_in_another_way_is_refused_by_its_version(wan, monkeypatch):
    import diffusers
    from diffusers.models.modeling_utils import ModelMixin

    monkeypatch.delattr(ModelMixin, "_fix_state_dict_keys_on_load")
    with pytest.raises(MissingExtraError, match=f"diffusers {diffusers.__version__} loads weights in another way") as error:
        transformer(wan)
    assert "constraints.txt" in error.value.hint
