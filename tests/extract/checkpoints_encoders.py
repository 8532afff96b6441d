"""Tiny video encoders as transformers itself saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from golden import fill

FRAMES, SIZE, PATCH, WIDTH, BLOCKS = 4, 32, 8, 48, 3
COMMON: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "vjepa2": COMMON
    | {"crop_size": SIZE, "patch_size": PATCH, "frames_per_clip": FRAMES, "mlp_ratio": 2.0}
    | {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 2},
    "videomae": COMMON | {"image_size": SIZE, "patch_size": PATCH, "num_frames": FRAMES, "intermediate_size": 64},
    "timesformer": COMMON | {"image_size": SIZE, "patch_size": PATCH, "num_frames": FRAMES, "intermediate_size": 64},
    "vivit": COMMON | {"image_size": SIZE, "num_frames": FRAMES, "tubelet_size": [2, PATCH, PATCH], "intermediate_size": 64},
}
CLASSES = {"vjepa2": "VJEPA2", "videomae": "VideoMAE", "timesformer": "Timesformer", "vivit": "Vivit"}
PIXELS = {"vjepa2": "pixel_values_videos"}  # name of the input, where it is not pixel_values
PREPROCESSOR = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 255}


def make(family: str, kind: str = "Model", **changes: Any) -> Any:
    """A model of the library with weights from Philox, ready to be called."""
    import transformers

    config = getattr(transformers, f"{CLASSES[family]}Config")(**(CONFIGS[family] | changes))
    with torch.random.fork_rng(devices=[]):
        return fill(getattr(transformers, f"{CLASSES[family]}{kind}")(config)).eval()


def save(folder: Path, family: str, kind: str = "Model", max_shard_size: str = "5GB", **changes: Any) -> Path:
    """Write a checkpoint as a user would have it: weights, configuration, preprocessing."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    make(family, kind, **changes).save_pretrained(folder, max_shard_size=max_shard_size)
    logging.enable_progress_bar()
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


def by_hand(model: Any, family: str, clips: torch.Tensor) -> list[torch.Tensor]:
    """What every block of the library's model puts out for uint8 clips, called without layerscout."""
    mean, std = torch.tensor(PREPROCESSOR["image_mean"]), torch.tensor(PREPROCESSOR["image_std"])
    pixels = ((clips.float() * PREPROCESSOR["rescale_factor"] - mean) / std).permute(0, 1, 4, 2, 3)
    seen: list[torch.Tensor] = []
    blocks = model.layers if family == "vivit" else model.encoder.layer
    handles = [block.register_forward_hook(lambda m, a, o: seen.append((o[0] if isinstance(o, tuple) else o).clone())) for block in blocks]
    with torch.no_grad():
        model(**{PIXELS.get(family, "pixel_values"): pixels}, **({"skip_predictor": True} if family == "vjepa2" else {}))
    for handle in handles:
        handle.remove()
    return seen
