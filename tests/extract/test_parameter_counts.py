"""Parameters that a description counts by arithmetic are those of the model that diffusers builds, block by block."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from layerscout.extract.backbones.denoisers import cogvideox, cosmos, hunyuan, hunyuan15, ltx, mochi, svd, wan

HEADS = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 3}
ROPE = HEADS | {"rope_axes_dim": [4, 6, 6]}
ONE_LIST: dict[Any, Any] = {cogvideox: "transformer_blocks", wan: "blocks", ltx: "transformer_blocks", cosmos: "transformer_blocks"}
CASES: list[tuple[Any, dict[str, Any]]] = [
    (cogvideox, HEADS),
    (cogvideox, HEADS | {"attention_bias": False, "norm_elementwise_affine": False, "time_embed_dim": 8, "activation_fn": "geglu"}),
    (wan, HEADS | {"ffn_dim": 40}),
    (wan, HEADS | {"added_kv_proj_dim": 10, "image_dim": 10, "cross_attn_norm": False}),
    (ltx, HEADS),
    (ltx, HEADS | {"cross_attention_dim": 20, "attention_bias": False, "attention_out_bias": False, "norm_elementwise_affine": True}),
    (cosmos, HEADS),
    (cosmos, HEADS | {"text_embed_dim": 20, "adaln_lora_dim": 6, "mlp_ratio": 2.5}),
]


def built(kind: str, config: dict[str, Any]) -> torch.nn.Module:
    with torch.device("meta"):
        return getattr(diffusers, kind).from_config(config)


def counted(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("family", "config"), CASES, ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2])
def test_blocks_that_are_all_alike(family, config):
    blocks = getattr(built(family.FAMILY.model, config), ONE_LIST[family])
    assert {counted(block) for block in blocks} == {family.block_parameters(config)}


def test_mochis_last_block_is_smaller():
    for config in (HEADS, HEADS | {"pooled_projection_dim": 20}):
        blocks = list(built("MochiTransformer3DModel", config).transformer_blocks)
        assert [counted(block) for block in blocks] == [mochi.block_parameters(config, last=i == 2) for i in range(3)]


@pytest.mark.parametrize(
    "more", [{}, {"mlp_ratio": 2.5, "qk_norm": "layer_norm"}, {"qk_norm": None}, {"image_condition_type": "token_replace"}]
)
def test_hunyuan_blocks_with_two_streams_and_with_one(more):
    config = ROPE | {"num_single_layers": 1, "num_refiner_layers": 1} | more
    model = built("HunyuanVideoTransformer3DModel", config)
    assert {counted(block) for block in model.transformer_blocks} == {hunyuan.dual_block_parameters(config)}
    assert counted(model.single_transformer_blocks[0]) == hunyuan.single_block_parameters(config)
    if "image_condition_type" not in more:
        later = built(hunyuan15.FAMILY.model, ROPE | {"num_refiner_layers": 1} | more)
        assert {counted(block) for block in later.transformer_blocks} == {hunyuan.dual_block_parameters(config)}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"layers_per_block": [1, 2, 3, 1], "cross_attention_dim": [8, 16, 24, 32], "num_attention_heads": 2},
        {"transformer_layers_per_block": [1, 2, 1, 2], "block_out_channels": [32, 64, 64, 96], "num_attention_heads": [1, 2, 4, 3]},
        {
            "block_out_channels": [32, 64],
            "down_block_types": ["DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"],
            "up_block_types": ["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"],
            "num_attention_heads": [1, 2],
            "layers_per_block": 1,
        },
    ],
)
def test_parts_of_the_u_net(config):
    config = {"block_out_channels": [32, 64, 96, 96], "num_attention_heads": [1, 2, 3, 3], "cross_attention_dim": 16} | config
    model = built("UNetSpatioTemporalConditionModel", config)
    counts = svd.part_parameters(config)
    assert {name: counted(model.get_submodule(name)) for name in counts} == counts
    assert len(counts) == 2 * len(config["block_out_channels"]) + 1


def test_published_sizes():
    """The sizes that the authors state, in millions."""
    published = {
        56: cogvideox.block_parameters({"num_attention_heads": 30, "attention_head_dim": 64}),
        132: cogvideox.block_parameters({"num_attention_heads": 48, "attention_head_dim": 64}),
        46: wan.block_parameters({"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960}),
        351: wan.block_parameters({"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824}),
        67: ltx.block_parameters({"num_attention_heads": 32, "attention_head_dim": 64}),
        340: hunyuan.dual_block_parameters({"num_attention_heads": 24, "attention_head_dim": 128}),
        142: hunyuan.single_block_parameters({"num_attention_heads": 24, "attention_head_dim": 128}),
        208: mochi.block_parameters({"num_attention_heads": 24, "attention_head_dim": 128}, last=False),
    }
    assert {size: round(parameters / 1e6) for size, parameters in published.items()} == {size: size for size in published}
