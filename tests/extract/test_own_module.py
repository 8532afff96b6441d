"""Any torch module as a backbone: what a blank pass tells is what a real pass gives, and nothing about it is guessed."""

from __future__ import annotations

import itertools
import threading

import golden
import pytest
import torch
from torch import nn

from layerscout import registry
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.backbones.views import read_view
from layerscout.extract.checkpoints.states import read_state
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")
FRAMES, SIZE = 4, (16, 24)


class Convolutions(nn.Module):
    """Two stages and a head; the ReLU writes over what the convolution before it put out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 8, (1, 4, 4), stride=(1, 4, 4)), nn.BatchNorm3d(8), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv3d(8, 12, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(12, 5)

    def forward(self, video):
        return self.head(self.body(self.stem(video)).mean(dim=(2, 3, 4)))


class Tokens(nn.Module):
    """A video transformer in small: tubelets of 2 x 8 x 8, two class tokens, blocks that give a tuple."""

    class Block(nn.Linear):
        def forward(self, tokens):
            return super().forward(tokens) + tokens, None

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv3d(3, 6, (2, 8, 8), stride=(2, 8, 8))
        self.blocks = nn.ModuleList(self.Block(6, 6) for _ in range(3))

    def forward(self, video):
        tokens = self.patch(video.transpose(1, 2)).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.new_full((len(tokens), 2, 6), 9.0), tokens], dim=1)
        for block in self.blocks:
            tokens, _ = block(tokens)
        return tokens


class Pictures(nn.Module):
    """An image model that sees every frame by itself: a convolution, then tokens with one class token, then a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix, self.head = nn.Conv2d(3, 7, 8, stride=8), nn.Linear(7, 7), nn.Linear(7, 2)

    def forward(self, pictures):
        tokens = self.conv(pictures).flatten(2).transpose(1, 2)
        tokens = self.mix(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))
        return self.head(tokens[:, 0])


def convolutions(**changes) -> Backbone:
    named = {"frames": FRAMES, "size": SIZE} | changes
    return from_module("convolutions", Convolutions, ["head", "body", "stem.0", "stem.1", "stem"], **named)


def tokens(**changes) -> Backbone:
    named = {"takes": "clip time channel height width", "grid": (2, 2, 3), "class_tokens": 2} | changes
    return from_module("tokens", Tokens, ["blocks.0", "blocks.1", "blocks.2"], frames=FRAMES, size=SIZE, **named)


def pictures() -> Backbone:
    named = {"takes": "frame channel height width", "grid": (1, 2, 3), "class_tokens": 1}
    return from_module("pictures", Pictures, ["conv", "mix", "head"], frames=FRAMES, size=SIZE, **named)


@pytest.mark.parametrize("make", [convolutions, tokens, pictures])
def test_what_is_described_is_what_runs(make):
    backbone = make()
    loaded, seen = backbone.load(CPU), golden.activations(backbone, golden.clips(backbone, 3))
    assert list(seen) == [layer.name for layer in backbone.layers], "layers stand in the order in which they run"
    for layer in backbone.layers:
        assert seen[layer.name].shape == (3, backbone.grid_of(layer).tokens, layer.width)
        assert sum(p.numel() for p in loaded.module.get_submodule(layer.module).parameters()) == layer.parameters
    again = golden.activations(backbone, golden.clips(backbone, 3))
    assert all(torch.equal(seen[name], again[name]) for name in seen), "random weights are the same every time"
    assert backbone.weights_digest() == digest_tensors(loaded.module.state_dict())


def test_grids_are_those_of_the_outputs():
    grids = {layer.name: (layer.grid.time, layer.grid.height, layer.grid.width, layer.width) for layer in convolutions().layers}
    assert grids == {"stem.0": (4, 4, 6, 8), "stem.1": (4, 4, 6, 8), "stem": (4, 4, 6, 8), "body": (2, 2, 3, 12), "head": (1, 1, 1, 5)}
    grids = {layer.name: (layer.grid.time, layer.grid.height, layer.grid.width, layer.width) for layer in pictures().layers}
    assert grids == {"conv": (4, 2, 3, 7), "mix": (4, 2, 3, 7), "head": (4, 1, 1, 2)}


def test_tokens_are_in_the_order_time_height_width():
    seen = golden.activations(convolutions(), golden.clips(convolutions(), 2))["stem"]
    loaded = convolutions().load(CPU)
    pixels = (golden.clips(convolutions(), 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        output = loaded.module.stem(pixels.permute(0, 4, 1, 2, 3))
    for time, row, column in itertools.product(range(4), range(4), range(6)):
        torch.testing.assert_close(seen[:, (time * 4 + row) * 6 + column], output[:, :, time, row, column])
    frames = golden.activations(pictures(), golden.clips(pictures(), 2))
    with torch.no_grad():
        output = pictures().load(CPU).module.conv((golden.clips(pictures(), 2).float() / 127.5 - 1).flatten(0, 1).permute(0, 3, 1, 2))
    torch.testing.assert_close(frames["conv"].reshape(2, 4, 2, 3, 7).permute(0, 1, 4, 2, 3).flatten(0, 1), output)


def test_class_tokens_are_told_from_video_tokens():
    backbone, clips = tokens(), golden.clips(tokens(), 2)
    assert backbone.class_token
    outputs = []
    loaded = backbone.load(CPU)
    loaded.module.blocks[0].register_forward_hook(lambda m, a, o: outputs.append(o[0].clone()))
    with torch.no_grad():
        loaded.forward(clips)
    assert torch.equal(golden.activations(backbone, clips)["blocks.0"], outputs[0][:, 2:])
    pooled = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "cls")(clips)
    assert torch.equal(pooled["blocks.0"], outputs[0][:, 0])
    assert not convolutions().class_token
    assert not pictures().class_token, "a class token a frame is none of the clip"


def test_an_operation_in_place_does_not_change_what_was_captured():
    backbone, clips = convolutions(), golden.clips(convolutions(), 2)
    pooled = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "all/tokens")(clips)
    module = backbone.load(CPU).module
    with torch.no_grad():
        before = module.stem[1](module.stem[0]((clips.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)))
    assert (before < 0).any(), "the ReLU behind it has something to cut off"
    torch.testing.assert_close(pooled["stem.1"], before.flatten(2).transpose(1, 2).flatten(1))
    assert (pooled["stem"] >= 0).all()


@pytest.mark.parametrize("make", [convolutions, tokens, pictures])
def test_a_pass_ends_after_the_deepest_wanted_layer(make):
    backbone = make()
    loaded, clips, ran = backbone.load(CPU), golden.clips(backbone, 2), []
    capture = Capture(loaded, backbone.layers, backbone.grid, "all/mean")
    for name, module in loaded.module.named_modules():
        module.register_forward_pre_hook(lambda m, a, name=name: ran.append(name))
    names = [layer.name for layer in backbone.layers]
    whole = capture(clips)
    for last in (0, len(names) - 1, 1):
        ran.clear()
        assert torch.equal(capture(clips, only=[names[last]])[names[last]], whole[names[last]])
        later = [name for name in names[last + 1 :] if not names[last].startswith(name)]  # a block around it has begun
        assert not set(later) & set(ran)


def test_a_module_that_is_also_somebody_elses_runs_whole_for_them():
    shared = Convolutions().eval()
    backbone = from_module("shared", lambda: shared, ["stem"], frames=FRAMES, size=SIZE)
    loaded = backbone.load(CPU)
    Capture(loaded, backbone.layers, backbone.grid, "all/mean")(golden.clips(backbone))
    assert shared(torch.zeros(1, 3, FRAMES, *SIZE)).shape == (1, 5)


def test_threads_may_share_a_loaded_model():
    backbone = convolutions()
    capture, clips = Capture(backbone.load(CPU), backbone.layers[:3], backbone.grid, "all/mean"), golden.clips(backbone, 6)
    expected = capture(clips)["stem"]
    found: dict[int, torch.Tensor] = {}
    work = [threading.Thread(target=lambda i=i: found.update({i: capture(clips[i : i + 1])["stem"]})) for i in range(6)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    torch.testing.assert_close(torch.cat([found[i] for i in range(6)]), expected)


def test_weights_are_loaded_whole_and_not_for_a_description():
    state = golden.fill(Convolutions()).state_dict()
    asked = []

    def weights() -> dict[str, torch.Tensor]:
        asked.append(1)
        return state

    backbone = convolutions(weights=weights)
    assert not asked
    assert backbone.weights_digest() == digest_tensors(state) != convolutions().weights_digest()
    assert torch.equal(backbone.load(CPU).module.body[0].weight, state["body.0.weight"])
    with pytest.raises(DataError, match=r"do not fit the module: .*body\.0\.weight"):
        convolutions(weights=lambda: {name: value for name, value in state.items() if name != "body.0.weight"}).load(CPU)


def test_what_changes_numbers_changes_the_identity():
    class Wider(Convolutions):
        def __init__(self) -> None:
            super().__init__()
            self.body[0].dilation = (1, 2, 2)
            self.body[0].padding = (1, 2, 2)

    Wider.__name__ = "Convolutions"
    base = convolutions().identity
    assert base == convolutions().identity
    assert from_module("convolutions", Wider, ["head"], frames=FRAMES, size=SIZE).identity != base, "no weight tells a dilation"
    assert convolutions(mean=(0.4, 0.4, 0.4)).identity != base
    assert convolutions(identity={"noise": 1}).identity == base | {"noise": 1}
    assert convolutions(stride=3).clip.offsets == (-9, -6, -3, 0)


def test_half_precision_is_computed_in():
    backbone, clips = convolutions(), golden.clips(convolutions())
    assert next(backbone.load(CPU, torch.bfloat16).module.parameters()).dtype == torch.bfloat16
    exact, rough = golden.activations(backbone, clips)["body"], golden.activations(backbone, clips, torch.bfloat16)["body"]
    assert 0 < float((exact - rough).norm() / exact.norm()) < 0.05


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.idle = nn.Conv3d(3, 3, 1), nn.Conv3d(3, 3, 1)

    def forward(self, video):
        return {"last": self.conv(self.conv(video))}


def test_modules_that_cannot_be_layers_are_refused_by_name():
    for names, message in [
        (["stem.0x"], "has no module 'stem.0x'; did you mean 'stem.0'"),
        ([""], "has no module ''"),
        ([], "names no modules"),
    ]:
        with pytest.raises(UsageError, match=message):
            from_module("own", Convolutions, names, frames=FRAMES, size=SIZE)
    with pytest.raises(UsageError, match="'conv' of own runs more than once"):
        from_module("own", Twice, ["conv"], frames=FRAMES, size=SIZE)
    with pytest.raises(UsageError, match="'idle' of own does not run"):
        from_module("own", Twice, ["idle"], frames=FRAMES, size=SIZE)
    with pytest.raises(UsageError, match="unknown input axes"):
        convolutions(takes="clip time height width channel")
    with pytest.raises(UsageError, match=r"does not take 2 blank clips as \(2, 4, 3, 16, 24\), clip time channel height width: .*channel"):
        convolutions(takes="clip time channel height width")
    for wrong in ({"grid": None}, {"grid": (2, 2, 2)}, {"class_tokens": 1}):
        with pytest.raises(UsageError, match="puts out 14 tokens"):
            tokens(**wrong)
    with pytest.raises(UsageError, match=r"puts out \(3, 5\) for 2 clips of 4 frames"):
        read_view("odd", (3, 5), 2, 4)
    with pytest.raises(UsageError, match="sees every frame by itself"):
        read_view("odd", (8, 6, 5), 2, 4, (2, 1, 3))


def test_an_entry_point_leads_to_it(monkeypatch):
    monkeypatch.setitem(registry.REGISTRY["backbone"], "own", f"{__name__}:own")
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(own=lambda source, options: tokens()))
    assert find_backbone("own").layers == tokens().layers


# --- states that are not quite the module's


def held() -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in convolutions().load(CPU).module.state_dict().items()}


def in_eight_bits(state, name: str) -> dict[str, torch.Tensor]:
    scale = state[name].abs().max() / 448
    return state | {name: (state[name] / scale).to(torch.float8_e4m3fn), f"{name}_scale": scale}


def test_numbers_with_a_scale_are_multiplied_by_it():
    state = held()
    loaded = convolutions(weights=lambda: in_eight_bits(state, "body.0.weight")).load(CPU).module.state_dict()
    assert (loaded["body.0.weight"] - state["body.0.weight"]).norm() < 0.04 * state["body.0.weight"].norm()
    assert all(torch.equal(value, loaded[name]) for name, value in state.items() if name != "body.0.weight")


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"body.0.weight": None}, r"lacks 1 weights of its configuration, first body\.0\.weight", "strict=False"),
        ({"strange": torch.ones(1)}, "1 belong to nothing in it: strange", "strict=False"),
        (
            {f"strange.{i}": torch.ones(1) for i in range(5)},
            r"5 belong to nothing in it: strange\.0, strange\.1, strange\.2, …",
            "strict=False",
        ),
        ({"body.0.weight": torch.ones(3, 3)}, r"body\.0\.weight is \(3, 3\), expected", "strict=False"),
        ({"body.0.weight": torch.ones(1, dtype=torch.int8)}, "is quantised by a packed format", "bfloat16"),
        ({"body.0.lora_A.weight": torch.ones(4, 4)}, "of an adapter that is not merged", "fuse_lora"),
        ({"body.0.SCB": torch.ones(4)}, "is quantised by bitsandbytes", "bfloat16"),
    ],
)
def test_a_state_that_does_not_fit_is_told_in_one_line(changes, message, hint):
    state = {name: value for name, value in (held() | changes).items() if value is not None}
    with pytest.raises(DataError, match=message) as error:
        convolutions(weights=lambda: state).load(CPU)
    assert hint in error.value.hint
    assert len(str(error.value)) < 400


def test_without_strictness_the_module_fills_what_is_missing_and_its_digest_says_so():
    state = held() | {"strange": torch.ones(1)}
    del state["body.0.weight"]
    loose = convolutions(weights=lambda: state, strict=False)
    loaded = loose.load(CPU).module.state_dict()
    assert loose.weights_digest() == digest_tensors(loaded)
    assert torch.equal(loaded["body.0.weight"], convolutions().load(CPU).module.state_dict()["body.0.weight"])
    state["body.0.weight"] = torch.zeros(3, 3)
    with pytest.raises(DataError, match="another shape"):
        loose.load(CPU)


def test_a_digest_tells_what_does_not_fit_and_loads_nothing(monkeypatch):
    state = held()
    backbone = convolutions(weights=lambda: state)
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *arguments, **named: pytest.fail("weights were loaded"))
    backbone.weights_digest()
    del state["body.0.weight"]
    with pytest.raises(DataError, match="lacks 1 weights"):
        backbone.weights_digest()


def test_weights_that_change_after_their_digest_are_not_loaded():
    state = held()
    backbone = convolutions(weights=lambda: state)
    backbone.weights_digest()
    assert backbone.load(CPU)
    state["body.0.weight"] = state["body.0.weight"] + 1
    with pytest.raises(DataError, match="changed since their digest was taken"):
        backbone.load(CPU)


def test_a_file_is_read_through_the_same_gate(tmp_path):
    from safetensors.torch import save_file

    state = held()
    save_file(in_eight_bits(state, "body.0.weight"), tmp_path / "own.safetensors")
    read = read_state(tmp_path / "own.safetensors")
    assert sorted(read) == sorted(state)
    assert (read["body.0.weight"] - state["body.0.weight"]).norm() < 0.04 * state["body.0.weight"].norm()
    with pytest.raises(DataError, match="there is no file"):
        read_state(tmp_path / "none.safetensors")
