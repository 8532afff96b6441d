"""Models that are loaded to be trained: a pooled layer is refused where there is nothing to tune, and weights where they are not those of the sizes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from layerscout.cache.records import Selection
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.rl.comparison.dreamers import require_planned_model
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.seeing import pooled_layer
from layerscout.rl.seeing.pooled_layer import PooledLayer
from layerscout.rl.seeing.representation import Scaler
from layerscout.rl.transfer.apv.action_free import new_action_free
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.folder import WEIGHTS, PretrainedModel
from layerscout.rl.transfer.apv.keeping import load_action_free, save_weights, weights_digest

# --- a layer that is tuned

GRID = TokenGrid(time=2, height=1, width=2, past=1)  # four tokens a clip, of which two lie in the past


class Doubling:
    """A model of two layers: every pixel of a clip is a token of one feature, which both layers multiply."""

    def __init__(self) -> None:
        self.module = nn.ModuleDict({"first": nn.Linear(1, 1, bias=False), "second": nn.Linear(1, 1, bias=False)})
        for layer, weight in zip(self.module.values(), (2.0, 5.0), strict=True):
            nn.init.constant_(layer.weight, weight)
        self.ended: Any = None

    def truncate(self, last: LayerInfo) -> None:
        self.ended = last.name

    def forward(self, clips: Any) -> None:
        inside = self.module["first"](clips.flatten(1)[..., None].float())
        if self.ended != "b.0":
            self.module["second"](inside)

    def tokens(self, output: Any, layer: LayerInfo) -> Any:
        return output


def store(*poolings: str) -> Any:
    return SimpleNamespace(identity={"pooling": poolings[0] if len(poolings) == 1 else list(poolings)})


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Doubling:
    loaded = Doubling()
    layers = {name: LayerInfo(name, module, depth, 1, 1) for depth, (name, module) in enumerate((("b.0", "first"), ("b.1", "second")))}
    backbone = SimpleNamespace(layer=layers.__getitem__, grid_of=lambda info: GRID, load=lambda device, dtype: loaded)
    monkeypatch.setattr(pooled_layer, "backbone_of", lambda store, trust: backbone)
    return loaded


def test_the_raw_pixels_are_refused_before_a_model_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_layer, "backbone_of", lambda *given: pytest.fail("there is none to look for"))
    with pytest.raises(UsageError, match="the raw pixels have no video model that could be tuned") as error:
        PooledLayer(store("all/mean"), "pixels", Scaler.unchanged(1))
    assert error.value.hint == "choose a layer of the store, or kind = 'store'"


@pytest.mark.parametrize(("poolings", "array"), [(("cls",), "b.1"), (("all/mean", "cls"), "b.1@cls")])
def test_a_class_token_is_refused_whether_it_stands_alone_or_beside_others(model: Doubling, poolings: tuple[str, ...], array: str) -> None:
    with pytest.raises(UsageError, match=f"'{array}' is a class token, and only pooled tokens can be tuned") as error:
        PooledLayer(store(*poolings), array, Scaler.unchanged(1))
    assert error.value.hint == "extract with another pooling"


CLIPS = torch.tensor([[1, 2, 3, 6], [10, 20, 30, 60]], dtype=torch.uint8).reshape(2, 2, 1, 2, 1)


@pytest.mark.parametrize(
    ("poolings", "array", "features"),
    [
        (("all/mean",), "b.0", [[6.0], [60.0]]),  # twice the mean of 1, 2, 3 and 6
        (("all/mean",), "b.1", [[30.0], [300.0]]),
        (("last/mean", "future/max"), "b.1@last-mean", [[15.0], [150.0]]),  # ten times the mean of 1 and 2
        (("last/mean", "future/max"), "b.0@future-max", [[12.0], [120.0]]),
        (("all/mean", "last/tokens"), "b.0@last-tokens", [[2.0, 4.0], [20.0, 40.0]]),
    ],
)
def test_a_layer_is_pooled_as_its_array_is_named_and_put_on_the_scale_that_heads_see(
    model: Doubling, poolings: tuple[str, ...], array: str, features: list[list[float]]
) -> None:
    mean, inverse = np.arange(1, 1 + len(features[0]), dtype=np.float32), np.full(len(features[0]), 0.5, np.float32)
    tuned = PooledLayer(store(*poolings), array, Scaler(mean, inverse))
    assert model.ended == array.partition("@")[0], "no deeper than the layer"
    np.testing.assert_allclose(tuned(CLIPS).detach(), (np.array(features) - mean) * 0.5)


def test_slopes_reach_the_weights_up_to_the_layer_and_none_behind_it(model: Doubling) -> None:
    tuned = PooledLayer(store("all/mean"), "b.0", Scaler(np.zeros(1, np.float32), np.full(1, 0.25, np.float32)))
    tuned(CLIPS).sum().backward()
    assert model.module["first"].weight.grad.item() == pytest.approx(0.25 * (3 + 30))
    assert model.module["second"].weight.grad is None
    assert tuned._output is None, "no activation is held between two passes"
    assert {name for name, _ in tuned.named_buffers()} == {"mean", "inverse"}, "the scale is no weight"


# --- weights of an action-free model

SIZES = APVModelConfig(size=8, stages=1, depth=1, latents=1, classes=2, deter=2, hidden=2)


def kept(folder: Path, seed: int = 3, sizes: APVModelConfig = SIZES) -> PretrainedModel:
    model = PretrainedModel(folder, sizes, 5, {})
    save_weights(model, new_action_free(sizes, seed))
    return model


def test_weights_come_back_as_they_were_and_only_they_decide_their_digest(tmp_path: Path) -> None:
    model, made = kept(tmp_path / "a"), new_action_free(SIZES, 3).state_dict()
    loaded = load_action_free(model).state_dict()
    assert loaded.keys() == made.keys()
    assert all(torch.equal(loaded[name], made[name]) for name in made)
    assert weights_digest(model) == weights_digest(kept(tmp_path / "b")) != weights_digest(kept(tmp_path / "c", seed=4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, -1])
def test_a_weight_that_is_not_finite_is_refused_by_its_name(tmp_path: Path, value: float, place: int) -> None:
    model = kept(tmp_path)
    tensors = safetensors.torch.load_file(model.weights)
    name = sorted(tensors)[place]
    tensors[name].view(-1)[-1] = value
    safetensors.torch.save_file(tensors, model.weights)
    with pytest.raises(DataError, match=f"{WEIGHTS}: {name} is not finite") as error:
        load_action_free(model)
    assert error.value.hint == "pretrain again"


def test_weights_that_are_not_those_of_the_sizes_are_refused_with_their_folder(tmp_path: Path) -> None:
    model = kept(tmp_path)
    for sizes in (SIZES.model_copy(update={"deter": 3}), SIZES.model_copy(update={"stages": 2})):
        with pytest.raises(DataError, match=f"the weights of {tmp_path} do not fit the module"):
            load_action_free(PretrainedModel(tmp_path, sizes, 5, {}))
    tensors = safetensors.torch.load_file(model.weights)
    lost = sorted(tensors)[0]
    safetensors.torch.save_file({name: value for name, value in tensors.items() if name != lost}, model.weights)
    with pytest.raises(DataError, match=lost):
        load_action_free(model)
    safetensors.torch.save_file({**tensors, "more.weight": torch.zeros(2)}, model.weights)
    with pytest.raises(DataError, match=r"1 belong to nothing in it: more\.weight"):
        load_action_free(model)


# --- weights that were planned with

SELECTION = Selection(ranking="ranking.json", store_id="ls1-" + "0" * 32, dataset_digest="sha256:00", backbone="any", choices=())


def dreaming(folder: Path | None, algorithm: str = "dreamer") -> TrainConfig:
    said: dict[str, Any] = {"environment": "any", "mode": "online", "algorithm": algorithm, "dreamer": {"pretrained": folder}}
    return TrainConfig.model_validate(said)


def weights_in(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    return folder


@pytest.mark.parametrize("after", [b"other", b"", b"weights "])
def test_weights_that_are_others_than_planned_with_are_refused_until_they_are_put_back(tmp_path: Path, after: bytes) -> None:
    config = dreaming(weights_in(tmp_path / "apv", b"weights"))
    key = comparison_key(config, SELECTION)
    require_planned_model(config, SELECTION, key)
    weights_in(tmp_path / "apv", after)
    with pytest.raises(DataError, match=f"the pretrained model in {tmp_path / 'apv'} was changed since it was planned with") as error:
        require_planned_model(config, SELECTION, key)
    assert error.value.hint == "put it back, or run the same command again with another --out"
    (tmp_path / "apv" / WEIGHTS).unlink()
    with pytest.raises(DataError, match="was changed since"):
        require_planned_model(config, SELECTION, key)
    weights_in(tmp_path / "apv", b"weights")
    require_planned_model(config, SELECTION, key)


def test_the_same_weights_in_another_folder_are_those_of_the_plan(tmp_path: Path) -> None:
    key = comparison_key(dreaming(weights_in(tmp_path / "a", b"weights")), SELECTION)
    require_planned_model(dreaming(weights_in(tmp_path / "b", b"weights")), SELECTION, key)
    with pytest.raises(DataError, match="was changed since"):
        require_planned_model(dreaming(weights_in(tmp_path / "b", b"others")), SELECTION, key)


def test_agents_without_a_pretrained_model_are_held_to_none(tmp_path: Path) -> None:
    require_planned_model(dreaming(None), SELECTION, comparison_key(dreaming(None), SELECTION))
    require_planned_model(dreaming(weights_in(tmp_path / "a", b"weights"), "dqn"), SELECTION, "the key of another plan")
