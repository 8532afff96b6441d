"""Configurations of published checkpoints, as JSON only: enough to describe them, and nothing that could be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILES: dict[str, dict[str, dict[str, Any]]] = {
    "cogvideox": {
        "transformer/config.json": {
            "_class_name": "CogVideoXTransformer3DModel",
            "num_attention_heads": 30,
            "attention_head_dim": 64,
            "num_layers": 30,
            "patch_size": 2,
            "in_channels": 16,
        },
        "vae/config.json": {"_class_name": "AutoencoderKLCogVideoX", "block_out_channels": [128, 256, 256, 512], "latent_channels": 16},
        "scheduler/scheduler_config.json": {"_class_name": "CogVideoXDDIMScheduler"},
    },
    "wan": {
        "model_index.json": {"_class_name": "WanPipeline"},
        "transformer/config.json": {
            "_class_name": "WanTransformer3DModel",
            "num_attention_heads": 12,
            "attention_head_dim": 128,
            "num_layers": 30,
            "patch_size": [1, 2, 2],
            "in_channels": 16,
            "ffn_dim": 8960,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKLWan",
            "z_dim": 16,
            "dim_mult": [1, 2, 4, 4],
            "latents_mean": [0.0] * 16,
            "latents_std": [1.0] * 16,
        },
    },
    "ltx": {
        "model_index.json": {"_class_name": "LTXConditionPipeline"},
        "transformer/config.json": {
            "_class_name": "LTXVideoTransformer3DModel",
            "num_attention_heads": 32,
            "attention_head_dim": 64,
            "num_layers": 28,
            "in_channels": 128,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKLLTXVideo",
            "latent_channels": 128,
            "patch_size": 4,
            "patch_size_t": 1,
            "spatio_temporal_scaling": [True, True, True, False],
        },
    },
    "hunyuan": {
        "transformer/config.json": {
            "_class_name": "HunyuanVideoTransformer3DModel",
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "num_layers": 20,
            "num_single_layers": 40,
            "patch_size": 2,
            "in_channels": 16,
            "text_embed_dim": 4096,
            "guidance_embeds": True,
        },
        "vae/config.json": {"_class_name": "AutoencoderKLHunyuanVideo", "latent_channels": 16, "scaling_factor": 0.476986},
    },
    "hunyuan15": {
        "transformer/config.json": {
            "_class_name": "HunyuanVideo15Transformer3DModel",
            "num_attention_heads": 16,
            "attention_head_dim": 128,
            "num_layers": 54,
            "patch_size": 1,
            "in_channels": 65,
            "text_embed_dim": 3584,
            "task_type": "t2v",
        },
        "vae/config.json": {"_class_name": "AutoencoderKLHunyuanVideo15", "latent_channels": 32, "scaling_factor": 1.03682},
    },
    "mochi": {
        "transformer/config.json": {
            "_class_name": "MochiTransformer3DModel",
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "num_layers": 48,
            "patch_size": 2,
            "in_channels": 12,
            "text_embed_dim": 4096,
            "max_sequence_length": 256,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKLMochi",
            "latent_channels": 12,
            "scaling_factor": 1.0,
            "latents_mean": [0.0] * 12,
            "latents_std": [1.0] * 12,
        },
    },
    "svd": {
        "unet/config.json": {
            "_class_name": "UNetSpatioTemporalConditionModel",
            "block_out_channels": [320, 640, 1280, 1280],
            "in_channels": 8,
            "num_frames": 14,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKLTemporalDecoder",
            "block_out_channels": [128, 256, 512, 512],
            "latent_channels": 4,
            "scaling_factor": 0.18215,
        },
        "scheduler/scheduler_config.json": {"_class_name": "EulerDiscreteScheduler", "sigma_max": 700.0},
    },
    "cosmos": {
        "transformer/config.json": {
            "_class_name": "CosmosTransformer3DModel",
            "num_attention_heads": 16,
            "attention_head_dim": 128,
            "num_layers": 28,
            "patch_size": [1, 2, 2],
            "in_channels": 17,
            "max_size": [128, 240, 240],
            "text_embed_dim": 1024,
        },
        "vae/config.json": {"_class_name": "AutoencoderKLWan", "z_dim": 16},
        "scheduler/scheduler_config.json": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
    },
    "vjepa2": {"config.json": {"model_type": "vjepa2", "hidden_size": 1024, "num_hidden_layers": 24}},
    "videomae": {"config.json": {"model_type": "videomae"}},
    "timesformer": {"config.json": {"model_type": "timesformer"}},
    "vivit": {"config.json": {"model_type": "vivit"}},
    "pvdr": {"pvdr.json": {"format": "layerscout-pvdr/1", "shape": {"width": 16}}},
    "apv": {"apv.json": {"format": "layerscout apv 1", "model": {"depth": 4}, "length": 25, "facts": {}}},
}


def write(folder: Path) -> list[str]:
    """Write every family's configurations; return their names as a command takes them, those without a source among them."""
    for name, files in FILES.items():
        for path, content in files.items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
    return [
        "tiny",
        "tiny-untrained",
        "tiny-2",
        "tiny-2-untrained",
        "synthetic",
        "transnet",
        "transnet-untrained",
        "r3d18",
        *(f"{name}:{folder / name}" for name in FILES),
    ]
