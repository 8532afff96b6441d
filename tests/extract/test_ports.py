"""Tokens enter a block in its own layout and come out where they were: each place by hand, each way there and back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.extract.passports.block_controls import identity, reinitialised, shuffled
from layerscout.extract.passports.context import Context, block_arguments, call_block, layout_leaves
from layerscout.extract.passports.frozen_layer import FrozenLayer
from layerscout.extract.passports.passport_record import Passport
from layerscout.extract.passports.ports import AXES, PORTS, hidden_states, port_name

CLIPS, SHAPE, FEATURES = 2, (3, 2, 4), 5
TIME, HEIGHT, WIDTH = SHAPE
COUNT = TIME * HEIGHT * WIDTH
TOKENS = torch.arange(CLIPS * COUNT * FEATURES, dtype=torch.float32).reshape(CLIPS, COUNT, FEATURES)
CLASS = torch.full((FEATURES,), -1.0)
EVERY = list(itertools.product(range(CLIPS), range(TIME), range(HEIGHT), range(WIDTH)))


def number(time: int, row: int, column: int) -> int:
    """Place of a token in the order time, height, width."""
    return (time * HEIGHT + row) * WIDTH + column


PLACES = {
    "tokens": lambda raw, clip, time, row, column: raw[clip, number(time, row, column)],
    "class-first": lambda raw, clip, time, row, column: raw[clip, 1 + number(time, row, column)],
    "class-first-time-fastest": lambda raw, clip, time, row, column: raw[clip, 1 + (row * WIDTH + column) * TIME + time],
    "frames": lambda raw, clip, time, row, column: raw[clip * TIME + time, :, row, column],
    "volume": lambda raw, clip, time, row, column: raw[clip, :, time, row, column],
}


def test_every_port_is_looked_at() -> None:
    assert set(PLACES) == set(PORTS)


@pytest.mark.parametrize("name", PORTS)
def test_each_token_stands_where_the_block_looks_for_it(name: str) -> None:
    raw = PORTS[name].enter(TOKENS, SHAPE, CLASS)
    assert raw.ndim == AXES[name]
    assert raw.numel() == TOKENS.numel() + (CLIPS * FEATURES if PORTS[name].class_token else 0)
    for clip, time, row, column in EVERY:
        assert torch.equal(PLACES[name](raw, clip, time, row, column), TOKENS[clip, number(time, row, column)])
    if PORTS[name].class_token:
        assert torch.equal(raw[:, 0], CLASS.expand(CLIPS, -1))


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("shape", [SHAPE, (1, 2, 3), (4, 1, 1), (1, 1, 1)])
def test_tokens_that_entered_leave_as_they_were(name: str, shape: tuple[int, int, int]) -> None:
    tokens = torch.randn(CLIPS, shape[0] * shape[1] * shape[2], FEATURES, generator=torch.Generator().manual_seed(0))
    port = PORTS[name]
    raw = port.enter(tokens, shape, CLASS)
    assert torch.equal(port.leave(raw, shape[0]), tokens)
    assert port.shape(raw, CLIPS) in (None, shape)
    assert (port.shape(raw, CLIPS) is None) == (raw.ndim == 3), "only axes tell the shape"


def test_a_class_token_takes_the_tokens_own_type_and_place() -> None:
    raw = PORTS["class-first"].enter(TOKENS.to(torch.bfloat16), SHAPE, CLASS)
    assert raw.dtype == torch.bfloat16


class TimesformerLayer(nn.Identity):
    """A block whose class says its order."""


@pytest.mark.parametrize(
    ("block", "axes", "class_token", "name"),
    [
        (nn.Identity(), 3, False, "tokens"),
        (nn.Identity(), 3, True, "class-first"),
        (nn.Identity(), 4, False, "frames"),
        (nn.Identity(), 4, True, "frames"),
        (nn.Identity(), 5, False, "volume"),
        (nn.Identity(), 2, False, None),
        (nn.Identity(), 6, True, None),
        (TimesformerLayer(), 3, True, "class-first-time-fastest"),
        (TimesformerLayer(), 3, False, "class-first-time-fastest"),
    ],
)
def test_a_port_is_told_by_the_blocks_argument(block: nn.Module, axes: int, class_token: bool, name: str | None) -> None:
    assert port_name(block, torch.zeros([2] * axes), class_token) == name


def test_a_blocks_tokens_come_alone_or_first() -> None:
    tokens = torch.zeros(1)
    assert hidden_states(tokens) is tokens
    assert hidden_states((tokens, torch.ones(1))) is tokens


# fixed arguments


TENSORS = {
    "t.one": torch.tensor([[1.0, 2.0]]),
    "t.two": torch.tensor([[1.0], [2.0]]),
    "t.same": torch.tensor([7.0, 8.0, 9.0]),
}
LAYOUT = {
    "embedding": {"per_clip": "t.one"},
    "frames": {"per_clip": "t.two"},
    "rest": {"tuple": [{"tensor": "t.same"}, {"value": None}, {"list": [{"value": 3}, {"per_clip": "t.one"}]}]},
    "named": {"dict": {"a": {"value": "word"}, "b": {"tensor": "t.same"}}},
}


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_what_one_clip_adds_is_repeated_for_each_and_the_rest_is_the_same_for_all(clips: int) -> None:
    found = block_arguments(LAYOUT, TENSORS, clips)
    assert list(found) == list(LAYOUT)
    assert found["embedding"].tolist() == [[1.0, 2.0]] * clips
    assert found["frames"].tolist() == [[1.0], [2.0]] * clips
    same, none, (three, inner) = found["rest"]
    assert (same.tolist(), none, three) == ([7.0, 8.0, 9.0], None, 3)
    assert inner.tolist() == [[1.0, 2.0]] * clips
    assert isinstance(found["rest"], tuple)
    assert isinstance(found["rest"][2], list)
    assert found["named"]["a"] == "word"
    assert found["named"]["b"].tolist() == [7.0, 8.0, 9.0]


def test_a_context_tells_its_leaves_its_bytes_and_what_is_one_a_clip() -> None:
    context = Context(LAYOUT, TENSORS)
    assert context.per_clip == {"t.one", "t.two"}
    assert context.bytes == 4 * (2 + 2 + 3)
    assert [next(iter(leaf.values())) for leaf in layout_leaves(LAYOUT)] == ["t.one", "t.two", "t.same", None, 3, "t.one", "word", "t.same"]
    assert (Context().per_clip, Context().bytes) == (frozenset(), 0)


def test_a_block_is_called_by_names_or_in_the_order_of_its_signature_where_it_takes_more() -> None:
    def plain(hidden: int, scale: int = 1, shift: int = 0) -> tuple[int, ...]:
        return hidden, scale, shift

    def more(hidden: int, first: int, *rest: int, shift: int = 0) -> tuple[int, ...]:
        return hidden, first, *rest, shift

    assert call_block(plain, "hidden", 5, {"shift": 3}) == (5, 1, 3)  # type: ignore[arg-type]
    assert call_block(more, "hidden", 5, {"first": 1, "*": (2, 3), "shift": 4}) == (5, 1, 2, 3, 4)  # type: ignore[arg-type]
    assert call_block(more, "hidden", 5, {"first": 1, "*": ()}) == (5, 1, 0)  # type: ignore[arg-type]


# one block alone


class Block(nn.Module):
    """Tokens through a matrix, scaled by a number a clip, with dropout that must never wake up."""

    def __init__(self, inputs: int = FEATURES, outputs: int = FEATURES) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(inputs, outputs), nn.Dropout(0.9)

    def forward(self, hidden: Tensor, scale: Tensor) -> tuple[Tensor, None]:
        return self.dropout(self.linear(hidden.movedim(1, -1)).movedim(-1, 1)) * scale[:, :, None, None, None], None


def passport(block: nn.Module | None = None, outputs: int = FEATURES, shape: tuple[int, int, int] = SHAPE, **changes: object) -> Passport:
    torch.manual_seed(0)
    block = Block(FEATURES, outputs) if block is None else block
    known = Passport(
        layer=LayerInfo(name="blocks.0", module="blocks.0", depth=0, width=outputs, parameters=0),
        grid=TokenGrid(*SHAPE, past=TIME),
        input_shape=shape,
        port="volume",
        argument="hidden",
        dtype=torch.float32,
        context=Context({"scale": {"per_clip": "scale"}}, {"scale": torch.tensor([[2.0]])}),
        input_mean=torch.zeros(FEATURES),
        input_rms=torch.tensor([3.0, 4.0, 0.0, 0.0, 0.0]),
        class_token=None,
        clips=4,
        block_class=type(block).__name__,
        block_digest=digest_tensors(block.state_dict()),
        model_config=None,
        weights=block.eval(),
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def test_a_frozen_layer_is_the_block_on_every_token_in_the_tokens_order() -> None:
    given = passport()
    layer = FrozenLayer(given)
    with torch.no_grad():
        expected = 2 * given.block.linear(TOKENS)
        torch.testing.assert_close(layer(TOKENS), expected)
        torch.testing.assert_close(layer.train()(TOKENS), expected)  # dropout stays asleep
        assert layer(TOKENS.double()).dtype == torch.float64
        torch.testing.assert_close(layer(TOKENS[:1]), expected[:1])
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_another_block_may_stand_in_the_same_context() -> None:
    given = passport()
    other = reinitialised(given, 1)
    with torch.no_grad():
        torch.testing.assert_close(FrozenLayer(given, other)(TOKENS), 2 * other.linear(TOKENS))  # type: ignore[operator]


@pytest.mark.parametrize("make", [reinitialised, shuffled])
def test_a_control_leaves_the_passports_block_alone_and_is_its_seeds(make) -> None:
    given = passport()
    before = digest_tensors(given.block.state_dict())
    digests = [digest_tensors(make(given, seed).state_dict()) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert before not in digests
    assert digest_tensors(given.block.state_dict()) == before


def test_no_block_stands_in_only_where_tokens_stay_as_they_are() -> None:
    assert torch.equal(identity(passport())(TOKENS), TOKENS)
    for other in (passport(outputs=FEATURES + 1), passport(shape=(TIME, HEIGHT, 2 * WIDTH))):
        with pytest.raises(UsageError, match=r"block blocks\.0 takes .* so the control without a block does not exist"):
            identity(other)


def test_a_passport_without_its_block_says_so_and_takes_no_other() -> None:
    given = passport()
    without = replace(given, weights=None)
    with pytest.raises(DataError, match=r"the passport of blocks\.0 is without its block"):
        _ = without.block
    with pytest.raises(DataError, match="without its block"):
        FrozenLayer(without)
    assert without.with_block(given.block).block is given.block
    for other in (Block(), nn.Linear(FEATURES, FEATURES)):
        with pytest.raises(DataError, match="is not block blocks.0 that the passport was made with".replace(".", r"\.")):
            without.with_block(other)


def test_the_scale_of_what_a_block_saw_is_the_root_of_the_mean_square_over_features() -> None:
    assert passport().overall_rms == pytest.approx((25 / FEATURES) ** 0.5)


@pytest.mark.parametrize(
    ("changes", "fixed"),
    [
        ({"port": "tokens"}, None),
        ({"port": "class-first"}, None),
        ({"port": "volume"}, COUNT),  # its axes are the grid
        ({"port": "tokens", "block_class": "VJEPA2Layer"}, COUNT),  # it works out positions itself
        ({"port": "tokens", "context": Context({"table": {"tensor": "t"}}, {"t": torch.zeros(COUNT, 2)})}, COUNT),
        ({"port": "tokens", "context": Context({"table": {"tensor": "t"}}, {"t": torch.zeros(3, COUNT)})}, None),  # features
        ({"port": "tokens", "context": Context({"table": {"per_clip": "t"}}, {"t": torch.zeros(COUNT, 2)})}, None),  # the clips' axis
        ({"port": "tokens", "context": Context({"table": {"per_clip": "t"}}, {"t": torch.zeros(1, COUNT, 2)})}, COUNT),
    ],
)
def test_a_table_as_long_as_the_tokens_fixes_their_number(changes: dict, fixed: int | None) -> None:
    assert passport(**changes).fixed_tokens == fixed
