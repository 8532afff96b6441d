"""What a device is asked before it computes: is it there, and are its convolutions right in the type that was chosen?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from layerscout.errors import UsageError
from layerscout.extract import device
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import check_convolutions, check_device
from layerscout.extract.plan import plan

# a strided convolution to one column, and how far bfloat16 is from float32; with or without layerscout before torch is at work
PRODUCT = """
import json, torch
conv = torch.nn.Conv3d(8, 8, 3, stride=2, padding=(0, 1, 1)).requires_grad_(False)
frames = torch.randn(1, 8, 7, 4, 2)
exact = conv(frames)
print(json.dumps(float((conv.bfloat16()(frames.bfloat16()).float() - exact).norm() / exact.norm()) < 0.05))
"""


@pytest.mark.numeric
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_convolutions_are_right_here(dtype: torch.dtype) -> None:
    check_convolutions("cpu", dtype)


@pytest.mark.numeric
def test_layerscout_keeps_torch_to_kernels_that_are_right() -> None:
    environment = {name: value for name, value in os.environ.items() if name != device.KERNELS}
    done = subprocess.run(
        [sys.executable, "-c", f"import layerscout{PRODUCT}"], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) is True


def test_who_chooses_kernels_is_left_to_it() -> None:
    said = "import os, layerscout; print(os.environ['ONEDNN_MAX_CPU_ISA'])"
    environment = os.environ | {device.KERNELS: "AVX2"}
    assert subprocess.run([sys.executable, "-c", said], env=environment, capture_output=True, text=True, check=True).stdout == "AVX2\n"


@pytest.mark.parametrize("factor", [1.5, float("inf"), float("nan")])
def test_a_wrong_bfloat16_is_refused_before_anything_is_computed(
    factor: float, monkeypatch: pytest.MonkeyPatch, small, tmp_path: Path
) -> None:
    right = device.functional.conv3d
    monkeypatch.setattr(
        device.functional,
        "conv3d",
        lambda frames, *more, **named: right(frames, *more, **named) * (factor if frames.dtype == torch.bfloat16 else 1),
    )
    config = ExtractConfig(backbone="tiny", data=small.intercept, root=tmp_path, compute="bfloat16")
    with pytest.raises(UsageError, match="bfloat16 is wrong on this processor") as caught:
        plan(config)
    assert caught.value.hint.startswith("--compute float32")
    check_convolutions("cpu", torch.float32)
    check_convolutions("cuda", torch.bfloat16)  # a GPU has kernels of its own


@pytest.mark.parametrize("name", ["nothing", "meta", "cuda:0"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=name):
        check_device(name)
