"""Laws that every transformers video encoder obeys: a family's name and its checkpoint in, assertions out."""

from __future__ import annotations

from pathlib import Path

import checkpoints_encoders as made
import golden
import pytest
import torch

from layerscout.errors import DataError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")


def reordered(family: str, output: torch.Tensor) -> torch.Tensor:
    """Video tokens of a block's output in the order time, height, width; written otherwise than in the package."""
    cells = made.SIZE // made.PATCH
    if family == "timesformer":
        return output[:, 1:].reshape(len(output), cells, cells, made.FRAMES, -1).permute(0, 3, 1, 2, 4).reshape(len(output), -1, made.WIDTH)
    return output[:, 1:] if family == "vivit" else output


def equal_to_the_library(family: str, folder: Path) -> None:
    """Tokens of every block are bit for bit those of the library's own model, called by hand."""
    backbone = find_backbone(f"{family}:{folder}")
    clips = golden.clips(backbone, 2)
    ours = golden.activations(backbone, clips)
    theirs = made.by_hand(made.make(family), family, clips)
    assert len(ours) == len(theirs) == made.BLOCKS
    for (name, tokens), output in zip(ours.items(), theirs, strict=True):
        assert torch.equal(tokens, reordered(family, output)), name


def tokens_lie_where_the_picture_changes(family: str, folder: Path) -> None:
    """With attention switched off, a changed patch of a changed frame moves the one token of its place in the grid."""
    backbone = find_backbone(f"{family}:{folder}")
    loaded, clips = backbone.load(CPU), golden.clips(backbone)
    for name, module in loaded.module.named_modules():
        if name.rpartition(".")[2] in {"value", "v_proj", "qkv"}:  # no token hears of another
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
    seen = []
    layer = backbone.layers[0]
    loaded.module.get_submodule(layer.module).register_forward_hook(lambda m, a, o: seen.append(loaded.tokens(o, layer).clone()))
    changed = clips.clone()
    changed[:, -1, 8:16, 24:32] = 255 - changed[:, -1, 8:16, 24:32]  # row 1, column 3 of the last slot
    with torch.no_grad():
        loaded.forward(clips)
        loaded.forward(changed)
    moved = (seen[0] != seen[1]).any(dim=-1)[0].reshape(backbone.grid.time, backbone.grid.height, backbone.grid.width)
    assert moved.nonzero().tolist() == [[backbone.grid.time - 1, 1, 3]]


def another_shape_is_refused(family: str, folder: Path) -> None:
    """A clip that is not of the described frames and size never reaches the model."""
    backbone = find_backbone(f"{family}:{folder}")
    loaded, clips = backbone.load(CPU), golden.clips(backbone)
    for wrong in (clips[:, :2], clips.repeat(1, 2, 1, 1, 1), clips.repeat(1, 1, 2, 2, 1), clips[:, :, :, :16]):
        with pytest.raises(DataError, match="was described for clips 4x32x32x3 and is given"):
            loaded.forward(wrong)


def ends_after_any_block(family: str, folder: Path) -> None:
    """Cut after a block, later blocks do not run and its tokens are the same; a deeper call undoes the cut."""
    backbone = find_backbone(f"{family}:{folder}")
    loaded, clips = backbone.load(CPU), golden.clips(backbone)
    ran: list[str] = []
    for layer in backbone.layers:
        loaded.module.get_submodule(layer.module).register_forward_hook(lambda m, a, o, name=layer.name: ran.append(name))
    names = [layer.name for layer in backbone.layers]
    capture = Capture(loaded, backbone.layers, backbone.grid, "all/mean")
    whole = capture(clips)
    for last in (0, len(names) - 1, 1):
        ran.clear()
        part = capture(clips, only=[names[last]])
        assert ran == names[: last + 1]
        assert torch.equal(part[names[last]], whole[names[last]])


def half_precision_follows(family: str, folder: Path) -> None:
    """bfloat16 is asked for and computed in, and stays near float32."""
    backbone = find_backbone(f"{family}:{folder}")
    clips = golden.clips(backbone)
    assert next(backbone.load(CPU, torch.bfloat16).module.parameters()).dtype == torch.bfloat16
    exact, rough = golden.activations(backbone, clips), golden.activations(backbone, clips, torch.bfloat16)
    for name, values in exact.items():
        error = (rough[name] - values).norm() / values.norm()
        assert 0 < error < 0.05, name


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far activations are from the right ones, as a share of their size."""
    return float((a - b).norm() / b.norm())


def numbers_are_those_on_record(family: str, folder: Path) -> None:
    """Activations of fixed weights are what they were with earlier versions of the libraries."""
    golden.check(family, find_backbone(f"{family}:{folder}"))


LAWS = (
    equal_to_the_library,
    tokens_lie_where_the_picture_changes,
    another_shape_is_refused,
    ends_after_any_block,
    half_precision_follows,
    pytest.param(numbers_are_those_on_record, marks=pytest.mark.numeric),
)
