"""Tiny checkpoints of CogVideoX, Wan and LTX-Video as the libraries themselves save them, weights from Philox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden

SHARD = "40KB"  # so that every transformer comes in several files
TEXT_WIDTH = 8

COGVIDEOX: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 16,
    "text_embed_dim": TEXT_WIDTH,
    "num_layers": 3,
    "sample_width": 8,
    "sample_height": 8,
    "sample_frames": 9,
    "patch_size": 2,
    "max_text_seq_length": 4,
    "use_rotary_positional_embeddings": True,
}
WAN: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": TEXT_WIDTH,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 3,
    "rope_max_seq_len": 32,
}
WAN_VAE: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [1.0, 2.0, 0.5, 1.5],
}
LTX: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 8,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "cross_attention_dim": 32,
    "num_layers": 3,
    "caption_channels": TEXT_WIDTH,
}
LTX_VAE: dict[str, Any] = {
    "latent_channels": 8,
    "block_out_channels": (8, 8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8, 8),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1, 1),
    "scaling_factor": 0.8,
}


def index(folder: Path, **fields: Any) -> None:
    (folder / "model_index.json").write_text(json.dumps(fields))


def save_cogvideox(folder: Path, *, invert: bool = False, **changes: Any) -> Path:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

    golden.fill(CogVideoXTransformer3DModel(**(COGVIDEOX | changes))).save_pretrained(folder / "transformer", max_shard_size=SHARD)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.7,
        invert_scale_latents=invert,
    )
    golden.fill(vae).save_pretrained(folder / "vae")
    CogVideoXDDIMScheduler(rescale_betas_zero_snr=True, snr_shift_scale=3.0).save_pretrained(folder / "scheduler")
    return folder


def save_wan(folder: Path, *, vae: dict[str, Any] | None = None, said: dict[str, Any] | None = None, **changes: Any) -> Path:
    """``said`` goes to model_index.json; with a ``boundary_ratio`` there is a second transformer with other weights."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    said = said or {}
    golden.fill(WanTransformer3DModel(**(WAN | changes))).save_pretrained(folder / "transformer", max_shard_size=SHARD)
    if said.get("boundary_ratio"):
        second = golden.fill(WanTransformer3DModel(**(WAN | changes)))
        second.patch_embedding.weight.data.mul_(-1.0)
        second.save_pretrained(folder / "transformer_2", max_shard_size=SHARD)
    golden.fill(AutoencoderKLWan(**(WAN_VAE | (vae or {})))).save_pretrained(folder / "vae")
    index(folder, _class_name="WanPipeline", **said)
    return folder


def save_ltx(folder: Path, pipeline: str = "LTXConditionPipeline") -> Path:
    import torch
    from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

    golden.fill(LTXVideoTransformer3DModel(**LTX)).save_pretrained(folder / "transformer", max_shard_size=SHARD)
    vae = golden.fill(AutoencoderKLLTXVideo(**LTX_VAE))
    vae.latents_mean, vae.latents_std = torch.linspace(-0.2, 0.2, 8), torch.linspace(0.5, 1.5, 8)
    vae.save_pretrained(folder / "vae")
    index(folder, _class_name=pipeline)
    return folder


def save_text(folder: Path, kind: str = "T5EncoderModel") -> Path:
    """A tokenizer that pads on the right after an end token, and a T5 encoder of two layers."""
    import transformers
    from tokenizers import Tokenizer, models, processors

    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "robot": 3}, unk_token="<unk>"))
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder / "tokenizer")
    config = transformers.UMT5Config if kind.startswith("UMT5") else transformers.T5Config
    model = getattr(transformers, kind)(
        config(vocab_size=4, d_model=TEXT_WIDTH, d_kv=4, d_ff=16, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu")
    )
    golden.fill(model).save_pretrained(folder / "text_encoder")
    return folder


def save_image_encoder(folder: Path, width: int) -> Path:
    """A CLIP image encoder of three layers for pictures of 8 x 8 pixels: 1 + 4 tokens."""
    import transformers

    config = transformers.CLIPVisionConfig(
        hidden_size=width, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=8, patch_size=4
    )
    golden.fill(transformers.CLIPVisionModel(config)).save_pretrained(folder / "image_encoder")
    (folder / "image_processor").mkdir()
    said = {
        "size": {"shortest_edge": 8},
        "crop_size": {"height": 8, "width": 8},
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    (folder / "image_processor" / "preprocessor_config.json").write_text(json.dumps(said))
    return folder
