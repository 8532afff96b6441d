"""The script that trains the embedded backbones: the loss falls, a run that was cut goes on as if it had not been, and no kept world is trained on."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from layerscout.extract.backbones import tiny

PROJECT = Path(__file__).parents[2]
INTERCEPT = "layerscout/Intercept-v0"
SCRIPT = "tools.pretrain_tiny"


def shorter(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> object:
    """The recipe of tiny-2 for a model of two blocks."""
    monkeypatch.setitem(tiny.ARCHITECTURES, "short", tiny.ARCHITECTURES["tiny"] | {"num_layers": 2})
    return replace(script.RECIPES["tiny-2"], model="short")


def settings(checkpoint: Path | None = None, **changes: object) -> Namespace:
    return Namespace(**{"seed": 0, "lr": 2e-3, "steps": 12, "batch": 8, "log": 4, "checkpoint": checkpoint} | changes)


def test_a_few_updates_lower_the_loss_and_the_error_on_worlds_that_were_kept(script, videos, monkeypatch):
    recipe = shorter(script, monkeypatch)
    data = torch.from_numpy(videos)
    torch.manual_seed(0)
    average, curve = script.train(recipe, data, {INTERCEPT: videos}, {"kept": videos[:8]}, settings(steps=60, log=20))
    assert [point["step"] for point in curve] == [20, 40, 60]
    for part in ("loss", "held_out_intercept", "unseen"):
        first, second, third = (point[part] for point in curve)
        assert first > second > third > 0, part
    assert script.squared(average, videos) == curve[-1]["held_out_intercept"]


@pytest.mark.numeric
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(script, videos, monkeypatch, tmp_path):
    recipe, data, held_out = shorter(script, monkeypatch), torch.from_numpy(videos), {INTERCEPT: videos[:8]}
    torch.manual_seed(0)
    whole, curve = script.train(recipe, data, held_out, {}, settings())
    torch.manual_seed(0)
    write = script.Run.write

    def cut(run, path):
        write(run, path)
        if run.step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(script.Run, "write", cut)
    with pytest.raises(KeyboardInterrupt):
        script.train(recipe, data, held_out, {}, settings(tmp_path / "run.pt"))
    monkeypatch.setattr(script.Run, "write", write)
    torch.manual_seed(99)
    again, continued = script.train(recipe, data, held_out, {}, settings(tmp_path / "run.pt"))
    assert [{**point, "seconds": 0} for point in continued] == [{**point, "seconds": 0} for point in curve]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_clip_is_varied_as_a_whole_and_keeps_its_colours_and_its_motion(script, videos):
    clips = torch.from_numpy(videos)
    torch.manual_seed(0)
    varied = script.vary(clips)
    kinds = set()
    for before, after in zip(clips, varied, strict=True):
        found = [
            (mirrored, order)
            for mirrored in (False, True)
            for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
            if torch.equal((before.flip(2) if mirrored else before)[..., order], after)
        ]
        assert len(found) == 1
        kinds.add(str(found[0]))
    assert len(kinds) > 8, "of twelve ways to vary a clip"


def test_no_world_that_is_kept_from_a_model_is_in_its_mixture(script):
    for recipe in script.RECIPES.values():
        assert not {name.split()[0] for name in recipe.mixture} & set(recipe.unseen)
        assert sum(recipe.mixture.values()) == pytest.approx(1.0)
        assert set(recipe.episodes) <= set(recipe.mixture)


@pytest.mark.parametrize("model", ["tiny", "tiny-2"])
def test_the_record_is_of_the_recipe_and_its_command_starts_it_again(script, model, monkeypatch):
    record = json.loads((PROJECT / "docs" / "models" / f"{model}-training.json").read_text())
    recipe = script.RECIPES[model]
    assert record["mixture"] == recipe.mixture
    assert set(record.get("unseen", {})) == set(recipe.unseen)
    monkeypatch.setattr("sys.argv", record["command"].split()[2:])
    arguments = script.parse()
    assert (arguments.model, arguments.steps, arguments.clips) == (model, recipe.steps, recipe.clips)
    assert script.command(recipe, arguments) == record["command"]
    assert record["curve"][-1]["step"] == recipe.steps


def test_a_world_is_played_with_the_options_in_its_name(script):
    slow, fast = (script.play(name, 20, seed=3) for name in (f"{INTERCEPT} sideways=0.5", f"{INTERCEPT} sideways=3.5"))
    speeds = [max(abs(state[:, 2]).max() for _, state in videos) for videos in (slow, fast)]
    assert speeds[0] <= 0.5 < 2 < speeds[1] <= 3.5
