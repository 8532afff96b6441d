"""Backbones, importers and worlds of somebody's own, named on the command line as ``module:function``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from calling import call, refused

from layerscout import registry

CODE = """
import numpy as np
from torch import nn

from layerscout.cache.importers.formats.npz import Npz as Mine
from layerscout.extract.backbones.modules import from_module
from layerscout.worlds.grid import Grid


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv3d(3, 4, (1, 8, 8), stride=(1, 8, 8))

    def forward(self, video):
        return self.patches(video)


def build(source, options):
    return from_module("small", Small, ["patches"], frames=1, size=(16, 16), grid=(1, 2, 2))


def board(copies):
    return Grid(copies)


def needs(source, options):
    import nothing_of_this_name


def nothing(*given):
    return None


def torn(*given):
    return {}["absent"]


class Half:  # it cannot be seen
    def __init__(self, copies):
        self.copies = copies


class Env(__import__("gymnasium").Env):
    pass


number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch, _no_waiting_for_the_disk) -> Path:
    """A folder with a module of one's own, which no PYTHONPATH names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path / "root"))
    (tmp_path / "my_code.py").write_text(CODE)
    (tmp_path / "torn.py").write_text("1 / 0")
    yield tmp_path
    for name in ("my_code", "torn"):
        sys.modules.pop(name, None)


def test_a_world_a_backbone_and_a_format_of_ones_own_do_the_job(here):
    done = call("collect", "my_code:board", "--steps", 60, "--out", "data.h5", "-q")
    assert done.exit_code == 0, done.output
    layers = json.loads(call("layers", "my_code:build", "--json").stdout)
    assert [layer["name"] for layer in layers["layers"]] == ["patches"]
    stored = call("extract", "my_code:build", "data.h5", "--json", "-q")
    assert stored.exit_code == 0, stored.output
    assert json.loads(stored.stdout)["layers"] == ["patches", "pixels"]
    np.savez(here / "one.npz", image=np.zeros((4, 16, 16, 3), np.uint8), action=np.zeros(4, np.int64), reward=np.zeros(4, np.float32))
    taken = call("import", "one.npz", "--format", "my_code:Mine", "--out", "taken.h5", "--json", "-q")
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["format"] == "my_code:Mine"


@pytest.mark.parametrize(
    ("words", "message", "advice"),
    [
        (["layers", "my_cod:build"], "there is no module 'my_cod'", "current folder"),
        (["layers", "my_code:biuld"], "module 'my_code' has no 'biuld'; did you mean 'build'?", "my_code.py"),
        (["layers", "torn:build"], "cannot be imported: ZeroDivisionError", "python -c 'import torn'"),
        (["layers", "tyny:x"], "there is no module 'tyny'; did you mean 'tiny'?", "current folder"),
        (["collect", "my_cod:Dot-v0", "--steps", "5"], "environment 'my_cod:Dot-v0': there is no module 'my_cod'", "current folder"),
        (["import", "my_code.py", "--format", "my_code:None_"], "has no 'None_'", "my_code.py"),
        (["layers", "my_code:needs"], "backbone 'my_code:needs' fails: ModuleNotFoundError", "needs(source, options)"),
        (["layers", "my_code:nothing"], "returned an object of type NoneType", "backbones.base.Backbone"),
        (["layers", "my_code:number"], "is of type int, which cannot be called", "number(source, options)"),
        (["layers", "json:dumps"], "fails: TypeError", "dumps(source, options)"),
        (["import", "my_code.py", "--format", "my_code:nothing"], "returned an object of type NoneType", "importers.base.Importer"),
        (["import", "my_code.py", "--format", "my_code:torn"], "importer 'my_code:torn' fails: KeyError: 'absent'", "Importer"),
        (["collect", "my_code:nothing", "--steps", "5"], "returned an object of type NoneType", "worlds.core.World"),
        (["collect", "my_code:torn", "--steps", "5"], "environment 'my_code:torn' fails: KeyError", "torn(copies)"),
        (["collect", "my_code:Half", "--steps", "5"], "returned an object of type Half", "worlds.core.World"),
        (["collect", "my_code:number", "--steps", "5"], "is of type int, which cannot be called", "number of copies"),
        (["collect", "my_code:Env", "--steps", "5"], "is a gymnasium.Env, which has to be registered", "my_code:Env-v0"),
        (["collect", "my_code:baord", "--steps", "5"], "module 'my_code' has no 'baord'", "my_code.py"),
        (["transfer", "my_code:nothing", "--set", "teacher_options.a=1"], "returned an object of type NoneType", "World"),
    ],
)
def test_what_is_wrong_with_it_is_told(here, words, message, advice):
    hint = refused(call(*words), 2, message)
    assert advice in hint


def test_a_registered_name_goes_before_a_module():
    assert registry.split_source("backbone", "wan:build") == ("wan", "build")
    assert registry.split_source("backbone", "mine.models:build") == ("mine.models:build", None)
    assert registry.split_source("backbone", "mine:build:a/b:c") == ("mine:build", "a/b:c")
    assert registry.split_source("backbone", "mine:/models/x") == ("mine", "/models/x")
    assert registry.split_source("backbone", "tiny") == ("tiny", None)


def test_a_strangers_store_imports_no_module(monkeypatch):
    """A store from elsewhere may name any module; only --trust lets it be imported."""
    from layerscout.extract import trust

    monkeypatch.setattr(trust, "backbone_source", lambda store: ("evil:build", {}))
    monkeypatch.setattr(trust, "made_elsewhere", lambda store: True)
    assert trust.foreign_source(None) == "evil:build"
    monkeypatch.setattr(trust, "made_elsewhere", lambda store: False)
    assert trust.foreign_source(None) is None
