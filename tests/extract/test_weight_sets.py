"""One complete set of weight files, and what its numbers mean: every layout that is read, every one that is refused and by which name."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from layerscout.errors import DataError
from layerscout.extract.checkpoints.checkpoint import as_checkpoint
from layerscout.extract.checkpoints.places.byte_ranges import FolderSource
from layerscout.extract.checkpoints.tensors.values import read_value

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
BOTH = pytest.mark.parametrize("stem", [DIFFUSERS, TRANSFORMERS])
W = torch.arange(12.0).reshape(4, 3) / 7


def whole(folder, stem, variant="", tensors=None) -> str:
    name = f"{stem}{variant}.safetensors"
    save_file(tensors or {"a.weight": W, "b.weight": W + 1}, folder / name)
    return name


def shards(folder, stem, variant="", count=2, missing=(), listed=None, extra=None) -> list[str]:
    """Two shards with an index, as both libraries write them."""
    names = [f"{stem}{variant}-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    held = dict(zip(("a.weight", "b.weight"), names, strict=True))
    for i, (name, file) in enumerate(held.items()):
        if i not in missing:
            save_file({name: W + i} | ((extra or {}) if i == 0 else {}), folder / file)
    index = f"{stem}.safetensors.index{variant}.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": listed or held}))
    return names


def found(folder):
    return as_checkpoint(folder).weights()


def stored(folder, **config):
    return as_checkpoint(folder).stored(config)


def says(folder, message, hint="", **config) -> None:
    with pytest.raises(DataError, match=message) as error:
        stored(folder, **config)
    assert hint in error.value.hint
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)


# --- which files


@BOTH
def test_one_file_or_all_shards_are_the_set(stem, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir(), many.mkdir()
    file, names = whole(one, stem), shards(many, stem)
    assert found(one).files == (file,)
    assert list(found(many).files) == names


@BOTH
def test_an_index_older_than_the_whole_file_does_not_count(stem, tmp_path):
    shards(tmp_path, stem, missing=(1,))
    file = whole(tmp_path, stem)
    assert found(tmp_path).files == (file,)


@BOTH
def test_a_whole_file_beside_complete_shards_is_refused_and_both_are_named(stem, tmp_path):
    whole(tmp_path, stem)
    shards(tmp_path, stem)
    says(tmp_path, rf"two sets of weights, {stem}\.safetensors and the 2 shards of {stem}\.safetensors\.index\.json", "older save")


@BOTH
@pytest.mark.parametrize("variant", [".fp16", ".bf16", ".fp8_e4m3fn", ".non_ema"])
def test_a_single_variant_is_read(stem, variant, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir(), many.mkdir()
    file, names = whole(one, stem, variant), shards(many, stem, variant)
    assert found(one).files == (file,)
    assert list(found(many).files) == names
    assert found(many).variant == variant[1:]


def test_a_variant_whose_shards_end_in_its_name_is_read(tmp_path):
    """As diffusers wrote them once: the index says which files, whatever they are called."""
    names = [f"{DIFFUSERS}-0000{i}-of-00002.fp16.safetensors" for i in (1, 2)]
    for name, file in zip(("a.weight", "b.weight"), names, strict=True):
        save_file({name: W}, tmp_path / file)
    index = {"weight_map": dict(zip(("a.weight", "b.weight"), names, strict=True))}
    (tmp_path / f"{DIFFUSERS}.safetensors.index.fp16.json").write_text(json.dumps(index))
    assert list(found(tmp_path).files) == names


@BOTH
def test_the_weights_without_a_variant_come_first_and_two_variants_are_refused(stem, tmp_path):
    whole(tmp_path, stem, ".fp16"), whole(tmp_path, stem, ".bf16")
    says(tmp_path, r"several variants of its weights \(bf16, fp16\)", "keep the files of one")
    file = whole(tmp_path, stem)
    assert found(tmp_path).files == (file,)


def test_the_own_name_of_a_library_comes_before_the_other(tmp_path):
    whole(tmp_path, TRANSFORMERS)
    file = whole(tmp_path, DIFFUSERS)
    assert found(tmp_path).files == (file,)


@BOTH
def test_a_missing_shard_is_named_with_their_number(stem, tmp_path):
    names = shards(tmp_path, stem, missing=(1,))
    says(tmp_path, f"misses {names[1]}, one of 2 shards", "download")
    (tmp_path / names[1]).symlink_to(tmp_path / "blobs" / "gone")
    says(tmp_path, f"misses {names[1]}, a link to a file that is gone")


def test_links_into_a_cache_are_followed(tmp_path):
    (tmp_path / "blobs").mkdir(), (tmp_path / "snapshot").mkdir()
    file = tmp_path / "blobs" / whole(tmp_path / "blobs", TRANSFORMERS)
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(os.path.relpath(file, tmp_path / "snapshot"))
    assert torch.equal(read_value(stored(tmp_path / "snapshot"), "a.weight"), W)
    file.unlink()
    says(tmp_path / "snapshot", "model.safetensors is a link to a file that is gone")


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([], "holds no weights", "save_pretrained"),
        (["README.md"], "holds no weights", "save_pretrained"),
        (["pytorch_model.bin"], "holds only the pickled pytorch_model.bin", "safe_serialization"),
        (["model.pt"], "holds only the pickled model.pt", "safe_serialization"),
        (["weights.pth"], "holds only the pickled weights.pth", "safe_serialization"),
        (["last.ckpt"], "holds only the pickled last.ckpt", "safe_serialization"),
        (
            ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
            "only the pickled pytorch_model-00001",
            "safe_serialization",
        ),
        (["wan-Q4_K_M.gguf"], r"in the format of GGUF only \(wan-Q4_K_M.gguf\)", "safetensors"),
        (["tf_model.h5"], "in the format of TensorFlow only", "safetensors"),
        (["flax_model.msgpack"], "in the format of Flax only", "safetensors"),
        (["model.onnx"], "in the format of ONNX only", "safetensors"),
        (["adapter_model.safetensors", "adapter_config.json"], "holds an adapter only", "fuse_lora"),
        (["pytorch_lora_weights.safetensors"], "holds an adapter only", "fuse_lora"),
        (["model-00001-of-00003.safetensors"], "holds shards such as model-00001-of-00003.safetensors and no index", "download"),
        (
            ["wan2.1_t2v_1.3B_fp8.safetensors"],
            "which is not named diffusion_pytorch_model.safetensors or model.safetensors",
            "save_pretrained",
        ),
    ],
)
def test_each_cause_of_no_weights_has_its_own_message(files, message, hint, tmp_path):
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    says(tmp_path, message, hint)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": [1]}', b"\xff", b"[" * 10**5])
def test_a_damaged_index_is_named_unless_a_whole_file_stands_beside_it(content, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    says(tmp_path, "model.safetensors.index.json is damaged", "download")
    file = whole(tmp_path, TRANSFORMERS)
    assert found(tmp_path).files == (file,)


# --- index against shards


def test_what_lies_in_two_shards_or_in_no_index_is_refused(tmp_path):
    names = shards(tmp_path, TRANSFORMERS, extra={"b.weight": W})
    says(tmp_path, rf"{names[0]} holds b.weight, and .*{names[1]} too", "another save")
    shards(tmp_path, TRANSFORMERS, extra={"c.weight": W})
    says(tmp_path, rf"{names[0]} holds c.weight, which the index does not list", "another save")
    shards(tmp_path, TRANSFORMERS, listed={"a.weight": names[0], "b.weight": names[1], "c.weight": names[1]})
    says(tmp_path, rf"{names[1]} lacks c.weight, which the index lists there")


def test_a_name_that_stands_twice_in_a_header_is_refused(tmp_path):
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"xy")
    says(tmp_path, "'a' stands in it twice")


# --- numbers with a scale

E4M3, E5M2, INT8 = torch.float8_e4m3fn, torch.float8_e5m2, torch.int8


def quantised(dtype, rows: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers and their scale, one for all or one a row."""
    most = {E4M3: 448.0, E5M2: 57344.0, INT8: 127.0}[dtype]
    scale = (W.abs().amax(1, keepdim=True) if rows else W.abs().max()) / most
    numbers = W / scale
    return (numbers.round() if dtype is INT8 else numbers).to(dtype), scale


@pytest.mark.parametrize("dtype", [E4M3, E5M2, INT8])
@pytest.mark.parametrize("spelling", ["weight_scale", "scale_weight"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (4,), (4, 1)])
def test_numbers_are_multiplied_by_their_scale(dtype, spelling, shape, tmp_path):
    numbers, scale = quantised(dtype, rows=shape[:1] == (4,))
    whole(tmp_path, TRANSFORMERS, tensors={"a.weight": numbers, f"a.{spelling}": scale.reshape(shape).clone(), "b.bias": W[0].clone()})
    held = stored(tmp_path)
    assert sorted(held.values) == ["a.weight", "b.bias"]
    value = read_value(held, "a.weight")
    assert value.dtype == torch.float32
    assert (value - W).abs().max() < {E4M3: 0.04, E5M2: 0.13, INT8: 0.01}[dtype] * W.abs().max()
    assert torch.equal(value, numbers.float() * scale.reshape(-1, 1) if scale.numel() > 1 else numbers.float() * scale)


def test_a_scale_may_lie_in_another_shard_in_half_precision_beside_markers(tmp_path):
    numbers, scale = quantised(E4M3, rows=False)
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    first = {"a.weight": numbers, "scaled_fp8": torch.zeros(2, dtype=E4M3)}
    second = {"a.scale_weight": scale.to(torch.bfloat16), "a.scale_input": torch.ones(())}
    save_file(first, tmp_path / names[0]), save_file(second, tmp_path / names[1])
    listed = dict.fromkeys(first, names[0]) | dict.fromkeys(second, names[1])
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    held = stored(tmp_path)
    assert held.values == ["a.weight"]
    assert (read_value(held, "a.weight") - W).abs().max() < 0.05 * W.abs().max()


def test_float8_as_a_plain_cast_stands_as_it_is(tmp_path):
    whole(tmp_path, TRANSFORMERS, tensors={"a.weight": W.to(E4M3)})
    held = stored(tmp_path)
    assert torch.equal(read_value(held, "a.weight").float(), W.to(E4M3).float())
    assert held.layout.described is None


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_a_note_of_plain_float8_is_taken(kind, tmp_path):
    note = torch.frombuffer(bytearray(json.dumps({"format": kind}).encode()), dtype=torch.uint8)
    numbers, scale = quantised(E4M3, rows=False)
    tensors = {"a.weight": numbers, "a.weight_scale": scale, "a.comfy_quant": note}
    whole(tmp_path, TRANSFORMERS, tensors=tensors)
    assert stored(tmp_path).values == ["a.weight"]
    other = torch.frombuffer(bytearray(json.dumps({"format": "nvfp4"}).encode()), dtype=torch.uint8)
    whole(tmp_path, TRANSFORMERS, tensors=tensors | {"a.comfy_quant": other})
    says(tmp_path, "quantised by nvfp4", "bfloat16")


CODES, SCALE = W.to(INT8), torch.ones(())
REFUSED = {
    "bitsandbytes int8": ({"a.weight": CODES, "a.SCB": torch.ones(4)}, "bitsandbytes"),
    "bitsandbytes 4 bit": ({"a.weight": CODES.view(torch.uint8), "a.weight.absmax": SCALE, "a.weight.quant_map": W[0]}, "bitsandbytes"),
    "bitsandbytes state": ({"a.weight": CODES, "a.weight.quant_state.bitsandbytes__nf4": CODES[0].view(torch.uint8)}, "bitsandbytes"),
    "GPTQ": ({"a.qweight": W.int(), "a.qzeros": W.int(), "a.scales": W, "a.g_idx": W[0].int()}, "GPTQ or AWQ"),
    "AWQ": ({"a.qweight": W.int(), "a.qzeros": W.int(), "a.scales": W}, "GPTQ or AWQ"),
    "packed": ({"a.weight_packed": W.int(), "a.weight_scale": W, "a.weight_shape": W[0].int()}, "compressed-tensors"),
    "zero points": ({"a.weight": CODES, "a.weight_scale": SCALE, "a.weight_zero_point": CODES[0]}, "compressed-tensors"),
    "NVFP4": ({"a.weight": CODES.view(torch.uint8), "a.weight_scale": W.to(E4M3), "a.weight_scale_2": SCALE}, "NVFP4"),
    "block-wise": ({"a.weight": W.to(E4M3), "a.weight_scale_inv": W[:1, :1].clone()}, "block-wise float8"),
    "block scales": ({"a.weight": W.to(E4M3), "a.weight_scale": torch.ones(2, 3)}, r"a scale of shape \[2, 3\]"),
    "scales of columns": ({"a.weight": W.to(E4M3), "a.weight_scale": torch.ones(1, 3)}, r"a scale of shape \[1, 3\]"),
    "scales a column, flat": ({"a.weight": W.to(E4M3), "a.weight_scale": torch.ones(3)}, r"a scale of shape \[3\]"),
    "integer scale": ({"a.weight": W.to(E4M3), "a.weight_scale": torch.ones((), dtype=torch.int32)}, "a scale of type I32"),
    "quanto": ({"a.weight._data": CODES, "a.weight._scale": SCALE}, "quanto"),
    "torchao": ({"a._weight_qdata": CODES, "a._weight_scale": SCALE}, "torchao"),
    "torchao, colon": ({"a.weight:qdata": CODES, "a.weight:scale": SCALE}, "torchao"),
    "torchao, inner": ({"a.weight.tensor_impl.data": CODES}, "torchao"),
    "HQQ": ({"a.W_q": CODES.view(torch.uint8), "a.scale": SCALE, "a.zero": SCALE}, "HQQ"),
    "SVDQuant": ({"a.qweight": CODES, "a.wscales": W, "a.smooth_factor": W[0], "a.lora_down": W}, r"SVDQuant \(nunchaku\)"),
    "SDNQ": ({"a.weight": CODES, "a.scale": SCALE, "a.svd_up": W}, "SDNQ"),
    "MXFP4": ({"a.weight_blocks": CODES.view(torch.uint8), "a.weight_scales": CODES.view(torch.uint8)}, "MXFP4"),
    "AQLM": ({"a.codes": CODES, "a.codebooks": W, "a.scales": W}, "AQLM"),
    "EETQ": ({"a.weight": CODES, "a.weight_scales": W[0]}, "EETQ"),
    "GGUF names": ({"blk.0.attn_q.weight": CODES.view(torch.uint8)}, "GGUF"),
    "bytes alone": ({"a.weight": CODES.view(torch.uint8)}, r"a packed format \(U8 numbers without a scale\)"),
    "int8 alone": ({"a.weight": CODES}, r"a packed format \(I8 numbers without a scale\)"),
    "wide numbers with a scale": ({"a.weight": W, "a.weight_scale": SCALE}, "F32 numbers with a scale beside"),
    "scales of another name": ({"a.weight": W.to(E4M3), "a.fp8_scale": SCALE}, "a format that calls its scales otherwise"),
    "scales below the weight": ({"a.weight": CODES, "a.weight.scale": SCALE}, "a format that calls its scales otherwise"),
    "exponents": ({"a.weight": W.to(E4M3), "a.weight_scale": torch.ones(4, 1).to(torch.float8_e8m0fnu)}, "a scale of type F8_E8M0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_formats_are_refused_by_their_name(name, tmp_path):
    tensors, kind = REFUSED[name]
    whole(tmp_path, TRANSFORMERS, tensors={key: value.clone() for key, value in tensors.items()})
    says(tmp_path, f"is quantised by ({kind})", "bfloat16")


def test_scales_that_got_lost_are_noticed(tmp_path):
    numbers, scale = quantised(E4M3, rows=False)
    whole(tmp_path, TRANSFORMERS, tensors={"a.weight": numbers, "a.weight_scale": scale, "b.weight": numbers.clone()})
    says(tmp_path, r"1 weights have a scale, and 1 tensor \(b.weight\) of the same kind have none", "download")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao"),
        ({"quant_method": "gguf"}, "gguf"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        (
            {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"g": {"weights": {"symmetric": False}}}},
            "compressed-tensors",
        ),
        ({"activation_scheme": "static"}, "a method that it does not name"),
        ("awq", "awq"),
    ],
)
def test_a_configuration_that_says_quantised_is_refused_by_its_method(told, kind, tmp_path):
    whole(tmp_path, TRANSFORMERS)
    says(tmp_path, f"is quantised by {kind}", "bfloat16", quantization_config=told)


def test_the_plain_layout_of_compressed_tensors_is_read(tmp_path):
    numbers, scale = quantised(E4M3, rows=True)
    whole(tmp_path, TRANSFORMERS, tensors={"a.weight": numbers, "a.weight_scale": scale})
    group = {"weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}}
    told = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": group}}
    assert (read_value(stored(tmp_path, quantization_config=told), "a.weight") - W).abs().max() < 0.05 * W.abs().max()


# --- adapters


@pytest.mark.parametrize(
    "names",
    [
        ["a.lora_A.weight", "a.lora_B.weight"],
        ["a.lora_A.default.weight", "a.lora_B.default.weight", "a.base_layer.weight"],
        ["base_model.model.a.base_layer.base_layer.weight"],
        ["lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight", "lora_unet_a.alpha"],
        ["a.processor.to_q_lora.down.weight"],
        ["a.hada_w1_a"],
        ["a.lokr_w1"],
        ["a.dora_scale"],
        ["a.lora_magnitude_vector.weight"],
        ["a.modules_to_save.default.weight"],
    ],
)
def test_adapters_that_are_not_merged_are_refused_with_the_way_to_merge_them(names, tmp_path):
    whole(tmp_path, TRANSFORMERS, tensors={"b.weight": W} | {name: W.clone() for name in names})
    says(tmp_path, "of an adapter that is not merged", "fuse_lora")


def test_names_that_only_sound_like_adapters_are_none(tmp_path):
    names = ["soft_moe.weight", "explora.weight", "a.loras.weight", "adapted.weight", "software_1.weight"]
    whole(tmp_path, TRANSFORMERS, tensors={name: W.clone() for name in names})
    assert sorted(stored(tmp_path).values) == sorted(names)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"])
def test_an_adapter_beside_the_model_is_not_passed_over(name, tmp_path):
    whole(tmp_path, TRANSFORMERS)
    (tmp_path / name).write_text("{}")
    says(tmp_path, rf"holds an adapter beside the model \({name}\)", "merge it")


def test_a_scale_of_the_models_own_is_no_scale_of_numbers(tmp_path):
    whole(tmp_path, TRANSFORMERS, tensors={"a.weight": W.to(E4M3), "scale_shift_table": W, "b.scale": W.clone(), "a.bias": W[0].clone()})
    assert stored(tmp_path).layout.scales == {}


# --- bound to what was hashed


def test_a_file_that_was_changed_since_it_was_hashed_is_not_read(tmp_path):
    source = FolderSource(tmp_path)
    file = tmp_path / whole(tmp_path, TRANSFORMERS)
    state = file.stat()
    source.digest(file.name)
    assert source.read(file.name, 0, 8) == file.read_bytes()[:8]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))  # the time of a change that a program can set says nothing
    with pytest.raises(DataError, match="was changed since its digest was taken"):
        source.read(file.name, 0, 8)
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(DataError, match="was changed since its digest was taken"):
        source.digest(file.name)


def test_a_hash_is_remembered_for_the_file_that_it_is_of(tmp_path):
    file = tmp_path / whole(tmp_path, TRANSFORMERS)
    before = FolderSource(tmp_path).digest(file.name)
    state = file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert FolderSource(tmp_path).digest(file.name) != before


def test_a_pointer_of_git_is_told_apart_from_weights(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    says(tmp_path, "model.safetensors is a pointer of Git LFS in place of the weights", "git lfs pull")
