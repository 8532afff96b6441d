"""Tiny random checkpoints of HunyuanVideo, Mochi, Stable Video Diffusion and Cosmos, as diffusers itself saves them.

No weight is zero: several families begin with closed gates, behind which a wrong input would not be seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import numpy as np

SHARD = "100KB"  # so that every transformer comes in several files

HUNYUAN = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "num_refiner_layers": 1,
    "mlp_ratio": 2.0,
    "text_embed_dim": 16,
    "pooled_projection_dim": 8,
    "rope_axes_dim": (4, 6, 6),
}
HUNYUAN15 = {
    "in_channels": 9,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 3,
    "num_refiner_layers": 1,
    "mlp_ratio": 2.0,
    "text_embed_dim": 16,
    "text_embed_2_dim": 8,
    "image_embed_dim": 12,
    "rope_axes_dim": (4, 6, 6),
    "target_size": 32,
    "task_type": "t2v",
}
MOCHI = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 3,
    "pooled_projection_dim": 16,
    "in_channels": 4,
    "text_embed_dim": 16,
    "time_embed_dim": 8,
    "max_sequence_length": 8,
}
SVD = {
    "sample_size": 8,
    "down_block_types": (*("CrossAttnDownBlockSpatioTemporal",) * 3, "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", *("CrossAttnUpBlockSpatioTemporal",) * 3),
    "block_out_channels": (32, 32, 64, 64),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "num_attention_heads": 2,
    "num_frames": 3,
}
COSMOS = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 3,
    "mlp_ratio": 2.0,
    "text_embed_dim": 16,
    "adaln_lora_dim": 4,
    "max_size": (8, 16, 16),
}


def save_hunyuan(folder: Path, **changes: Any) -> Path:
    """HunyuanVideo 1.0: two blocks with two streams, two with one."""
    from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel

    vae = AutoencoderKLHunyuanVideo(latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
    return _save(folder, HunyuanVideoTransformer3DModel(**(HUNYUAN | changes)), vae, _flow())


def save_hunyuan15(folder: Path, **changes: Any) -> Path:
    """HunyuanVideo 1.5: 4 latent, 4 condition and 1 mask channel."""
    from diffusers import AutoencoderKLHunyuanVideo15, HunyuanVideo15Transformer3DModel

    vae = AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(16,) * 5, layers_per_block=1)
    return _save(folder, HunyuanVideo15Transformer3DModel(**(HUNYUAN15 | changes)), vae, _flow())


def save_mochi(folder: Path, **changes: Any) -> Path:
    """Mochi 1: time runs backwards, and the last block drops the text stream."""
    from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiTransformer3DModel

    vae = AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4,
        latent_channels=4,
        layers_per_block=(1,) * 5,
        latents_mean=(0.1, -0.2, 0.3, 0.0),
        latents_std=(0.9, 0.8, 1.1, 1.2),
        scaling_factor=0.7,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    return _save(folder, MochiTransformer3DModel(**(MOCHI | changes)), vae, scheduler)


def save_svd(folder: Path, **changes: Any) -> Path:
    """Stable Video Diffusion: a U-Net of nine parts over 4 noisy and 4 image channels."""
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel

    vae = AutoencoderKLTemporalDecoder(down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32,) * 4)
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        timestep_type="continuous",
        timestep_spacing="leading",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )
    return _save(folder, UNetSpatioTemporalConditionModel(**(SVD | changes)), vae, scheduler, part="unet", shard="2MB")


def save_cosmos(folder: Path, **changes: Any) -> Path:
    """Cosmos 1.0: its own VAE of 8 x 8 x 8 and the EDM noise schedule; ``in_channels=5`` is Video2World."""
    from diffusers import AutoencoderKLCosmos, CosmosTransformer3DModel, EDMEulerScheduler

    vae = AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=(8,) * 4,
        decode_block_out_channels=(8,) * 4,
        num_layers=1,
        latents_mean=list(np.linspace(-0.2, 0.2, 4 * 8)),
        latents_std=list(np.linspace(0.8, 1.2, 4 * 8)),
    )
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    return _save(folder, CosmosTransformer3DModel(**(COSMOS | changes)), vae, scheduler)


def save_cosmos2(folder: Path, **changes: Any) -> Path:
    """Cosmos Predict 2 Video2World: Wan's VAE, straight-line noise, one time for every latent frame."""
    from diffusers import CosmosTransformer3DModel, FlowMatchEulerDiscreteScheduler

    two = {"in_channels": 5, "extra_pos_embed_type": None, "rope_scale": (1.0, 3.0, 3.0)}
    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    return _save(folder, CosmosTransformer3DModel(**(COSMOS | two | changes)), _wan_vae(), scheduler)


def _wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.9, 0.8, 1.1, 1.2],
    )


def _flow() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=7.0)


def _save(folder: Path, model: Any, vae: Any, scheduler: Any, part: str = "transformer", shard: str = SHARD) -> Path:
    golden.fill(model).save_pretrained(folder / part, max_shard_size=shard)
    golden.fill(vae).save_pretrained(folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    return folder
