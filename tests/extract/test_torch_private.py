"""Private names of torch lie in one file, exist in the installed version, and are told by name when they do not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import layerscout
from layerscout.errors import MissingExtraError
from layerscout.extract import torch_private

PACKAGE = Path(layerscout.__file__).parent


def test_every_name_is_there():
    assert issubclass(torch_private.dispatch_mode(), object)
    assert all(issubclass(error, Exception) for error in torch_private.compile_errors())
    assert torch_private.is_batch_norm(nn.BatchNorm3d(2))
    assert not torch_private.is_batch_norm(nn.LayerNorm(2))
    assert torch_private.is_convolution(nn.Conv2d(1, 1, 1))
    assert torch_private.is_convolution(nn.ConvTranspose2d(1, 1, 1))
    assert not torch_private.is_transposed(nn.Conv2d(1, 1, 1))
    assert torch_private.is_transposed(nn.ConvTranspose3d(1, 1, 1))
    assert callable(torch_private.fused_adam())


def test_looking_at_every_operation_imports_no_compiler():
    program = """
import sys, torch
from layerscout.extract.passes.autotune import _largest_tensor
assert _largest_tensor(lambda clips: torch.zeros(clips, 3, 4) + torch.ones(5)[:4]) == 48
sys.exit("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("module", "name"), [("torch", "_no_such_name"), ("torch._no_such_module", "anything")])
def test_a_version_without_a_name_is_refused_by_its_number(module, name):
    with pytest.raises(MissingExtraError, match=rf"torch {re.escape(torch.__version__)} .* has no {module}\.{name}") as error:
        torch_private.private(module, name)
    assert "constraints.txt" in error.value.hint


def test_no_other_file_uses_a_private_name_of_torch():
    private = re.compile(r"\b(torch|nn)(\.\w+)*\._[a-z]\w*|\bfrom torch[\w.]*\._|\b_(NormBase|ConvNd|ConvTransposeNd)\b")
    found = {
        f"{file.relative_to(PACKAGE)}: {line.strip()}"
        for file in PACKAGE.rglob("*.py")
        if file.name != "torch_private.py"
        for line in file.read_text(encoding="utf-8").splitlines()
        if private.search(line)
    }
    assert not found
