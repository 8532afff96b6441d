"""Small parts of world models and their agents by hand: heads, losses, distributions of actions, pictures, bonus, and what is shown of what is imagined."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from layerscout.rl.seeing.filming import film_runs, gif_of, png_of, save_film
from layerscout.rl.seeing.imagined import ENLARGED, GAP, SEEN, contact_sheet, film
from layerscout.rl.seeing.rollouts import Stage
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.bonus import MOMENTUM, VideoBonus
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.heads import LEAST, MOST, ActionDistribution, Actor, discount_loss, mlp, reward_loss
from layerscout.rl.transfer.apv.imagination import returns_of
from layerscout.rl.transfer.apv.latents import balanced_divergence, divergence, likeliest_latents, sample_latents
from layerscout.rl.transfer.apv.pictures import PictureDecoder, PictureEncoder, picture_loss, scaled
from layerscout.worlds.core import StepOutcome


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# --- heads and their losses


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_perceptron_has_elu_after_every_layer_but_the_last(layers):
    network, x = mlp(3, 2, layers, 5), torch.randn(4, 3)
    linear = [part for part in network if isinstance(part, torch.nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == [
        (before, after) for before, after in zip([3] + [5] * layers, [5] * layers + [2], strict=True)
    ]
    expected = x.double().numpy()
    for depth, part in enumerate(linear):
        expected = expected @ part.weight.detach().double().numpy().T + part.bias.detach().double().numpy()
        expected = expected if depth == layers else np.where(expected > 0, expected, np.expm1(expected))
    np.testing.assert_allclose(network(x).detach(), expected, atol=1e-5)


def test_a_reward_costs_half_its_squared_error():
    assert reward_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 5.0]])).item() == pytest.approx((0.5 + 4.5) / 2)


def test_an_end_costs_what_a_soft_coin_says():
    logit, goal = torch.tensor([0.0, 2.0]), torch.tensor([0.99, 0.0])
    chance = 1 / (1 + math.exp(-2.0))
    expected = (-0.99 * math.log(0.5) - 0.01 * math.log(0.5) - math.log(1 - chance)) / 2
    assert discount_loss(logit, goal).item() == pytest.approx(expected, rel=1e-5)


def test_the_cheapest_foretold_discount_is_the_discount_itself():
    goal, logits = torch.tensor([0.9]), torch.linspace(-4, 4, 801)
    costs = [discount_loss(one[None], goal).item() for one in logits]
    assert torch.sigmoid(logits[int(np.argmin(costs))]).item() == pytest.approx(0.9, abs=0.005)


# --- distributions of actions


@pytest.mark.parametrize("chance", [0.0, 0.09, 0.11, 0.79, 0.81, 1.0 - 1e-7])
def test_one_of_several_is_drawn_where_the_shares_exceed_the_chance(chance):
    shares = [0.1, 0.7, 0.2]
    drawn = ActionDistribution(torch.tensor([shares]).log()).draw(torch.tensor([[chance]]))
    expected = next(place for place in range(3) if sum(shares[: place + 1]) > chance)
    assert drawn.tolist() == [[float(place == expected) for place in range(3)]]


def test_what_is_likeliest_and_how_likely_it_is():
    discrete = ActionDistribution(torch.tensor([[0.2, 0.5, 0.3]]).log())
    assert discrete.likeliest.tolist() == [[0.0, 1.0, 0.0]]
    assert discrete.log_probability(discrete.likeliest).item() == pytest.approx(math.log(0.5))
    assert discrete.entropy.item() == pytest.approx(-sum(share * math.log(share) for share in (0.2, 0.5, 0.3)))
    numbers = ActionDistribution(None, torch.tensor([[0.3, -0.3]]), torch.tensor([[0.5, 2.0]]))
    assert torch.equal(numbers.likeliest, torch.tensor([[0.3, -0.3]]))


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.3), (0.9, 0.5), (-0.5, 2.0)])
def test_a_density_of_numbers_is_whole_and_its_entropy_is_its_mean_surprise(mean, deviation):
    grid = torch.linspace(-1 + 5e-5, 1 - 5e-5, 20_000, dtype=torch.float64)[:, None]
    one = ActionDistribution(None, torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[deviation]], dtype=torch.float64))
    logarithm = one.log_probability(grid)
    assert (logarithm.exp().sum() * 1e-4).item() == pytest.approx(1.0, rel=1e-3)
    assert -(logarithm.exp() * logarithm).sum().item() * 1e-4 == pytest.approx(one.entropy.item(), abs=2e-3)
    assert one.draw(grid.new_tensor([[0.5]])).abs() < 1
    edges = one.draw(grid.new_tensor([[0.0], [1.0]]))
    assert edges.ravel().tolist() == pytest.approx([LEAST, MOST], abs=1e-5)


def test_numbers_add_up_their_surprise_and_their_entropy():
    both = ActionDistribution(None, torch.tensor([[0.1, -0.4]]), torch.tensor([[0.3, 0.7]]))
    apart = [ActionDistribution(None, both.mean[:, [i]], both.deviation[:, [i]]) for i in (0, 1)]  # type: ignore[index]
    action = torch.tensor([[0.2, 0.6]])
    assert both.entropy.item() == pytest.approx(sum(one.entropy.item() for one in apart), rel=1e-5)
    assert both.log_probability(action).item() == pytest.approx(
        sum(one.log_probability(action[:, [i]]).item() for i, one in enumerate(apart)), rel=1e-5
    )


def test_an_actor_of_numbers_stays_within_its_bounds_and_one_of_several_gives_logits():
    numbers, several = Actor(4, 0, 2, 1, 5), Actor(4, 3, 0, 1, 5)
    assert (numbers.continuous, numbers.width, several.continuous, several.width) == (True, 2, False, 3)
    far = numbers(1e4 * torch.randn(50, 4))
    assert far.mean is not None
    assert far.deviation is not None
    assert far.mean.abs().max() <= 1.0
    assert far.deviation.min() >= 0.1 - 1e-6
    assert far.deviation.max() <= 2.1 + 1e-6
    middle = numbers.network[-1]
    torch.nn.init.zeros_(middle.weight)
    torch.nn.init.zeros_(middle.bias)
    begun = numbers(torch.randn(1, 4))
    assert (begun.mean.tolist(), begun.deviation[0].tolist()) == ([[0.0, 0.0]], pytest.approx([1.1, 1.1]))  # type: ignore[union-attr,index]
    assert several(torch.randn(6, 4)).logits.shape == (6, 3)  # type: ignore[union-attr]


# --- returns


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.0, [1 + 0.5 * 20, 2 + 0.5 * 30, 3 + 0.5 * 40]),  # one step ahead
        (1.0, [1 + 0.5 * (2 + 0.5 * (3 + 0.5 * 40)), 2 + 0.5 * (3 + 0.5 * 40), 3 + 0.5 * 40]),  # all rewards, then the last value
    ],
)
def test_returns_at_both_ends_of_the_weight_by_hand(weight, expected):
    rewards, values = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[10.0], [20.0], [30.0]])
    found = returns_of(rewards, values, torch.full((3, 1), 0.5), torch.tensor([40.0]), weight)
    assert found.ravel().tolist() == pytest.approx(expected)


def test_nothing_after_an_end_counts():
    rewards, values, discounts = torch.ones(3, 1), torch.full((3, 1), 9.0), torch.tensor([[0.9], [0.0], [0.9]])
    found = returns_of(rewards, values, discounts, torch.tensor([9.0]), 0.95)
    assert found[1].item() == 1.0
    other = returns_of(torch.tensor([[1.0], [1.0], [77.0]]), values, discounts, torch.tensor([-5.0]), 0.95)
    assert torch.equal(found[:2], other[:2])


# --- latents


def test_the_likeliest_class_of_every_variable_is_chosen():
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]]])
    assert likeliest_latents(logits).tolist() == [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]


def test_a_chance_in_the_middle_of_the_likeliest_class_draws_it():
    logits = torch.tensor([0.1, 0.8, 0.1]).log().expand(1, 2, 3)
    assert torch.equal(sample_latents(logits, torch.full((1, 2), 0.5)), likeliest_latents(logits))


def test_a_divergence_by_hand_is_summed_over_the_variables():
    seen = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
    foretold = torch.tensor([[[0.25, 0.75], [0.9, 0.1]]]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(seen, foretold).item() == pytest.approx(expected, rel=1e-5)
    assert divergence(seen, seen).item() == pytest.approx(0.0, abs=1e-6)
    assert balanced_divergence(seen, foretold, 0.8, 0.0).item() == pytest.approx(expected, rel=1e-5)
    assert balanced_divergence(seen, foretold, 0.8, 1.5).item() == pytest.approx(1.5)


# --- pictures


def test_a_picture_costs_half_its_squared_error_summed_over_it_in_the_mean_of_frames():
    frames = torch.zeros(2, 3, 4, 4)
    means = torch.zeros(2, 3, 4, 4)
    means[0, 0, 0, 0], means[1, 2, 3, 3] = 2.0, 4.0
    assert picture_loss(means, frames).item() == pytest.approx((2.0 + 8.0) / 2)


def test_bytes_are_scaled_around_nothing_with_the_channel_first():
    frames = torch.zeros(2, 4, 5, 1, dtype=torch.uint8)
    frames[1, 2, 3, 0] = 255
    found = scaled(frames)
    assert found.shape == (2, 1, 4, 5)
    assert (found[1, 0, 2, 3].item(), found[0].min().item()) == (0.5, -0.5)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pictures_of_any_batch_are_embedded_and_painted_as_each_alone(channels):
    sizes = APVModelConfig(size=16, channels=channels, depth=2, stages=2, latents=2, classes=3, deter=4, hidden=4)
    encoder, decoder = PictureEncoder(sizes), PictureDecoder(sizes)
    frames, features = torch.rand(2, 3, channels, 16, 16) - 0.5, torch.randn(2, 3, sizes.features)
    embedded, painted = encoder(frames), decoder(features)
    assert embedded.shape == (2, 3, sizes.embedding)
    assert painted.shape == frames.shape
    np.testing.assert_allclose(embedded[1, 2].detach(), encoder(frames[1:, 2:])[0, 0].detach(), atol=1e-5)
    np.testing.assert_allclose(painted[1, 2].detach(), decoder(features[1:, 2:])[0, 0].detach(), atol=1e-5)
    assert sizes.maps == ((2, 8), (4, 4))
    assert sizes.embedding == 4 * 16


# --- the bonus


def bonus(**settings: Any) -> VideoBonus:
    chosen = {"bonus_window": 2, "neighbours": 2, "queue": 64, "projection": 3, "batch": 2, "length": 4} | settings
    return VideoBonus(5, DreamerConfig.model_validate(chosen), 0, torch.device("cpu"))


def test_a_bonus_is_half_the_distance_to_the_nearest_other_over_its_usual_size():
    """Two neighbours, of which one is the stretch itself: the mean is half the distance to the nearest other one."""
    one, features = bonus(), torch.randn(2, 4, 5)
    found = one(features)
    averages = ((features[:, :-1] + features[:, 1:]) / 2 @ one.projection).flatten(0, 1).numpy()
    apart = np.linalg.norm(averages[:, None] - averages[None], axis=-1)
    raw = np.sort(apart, axis=1)[:, 1] / 2
    usual = MOMENTUM + (1 - MOMENTUM) * raw.mean()
    np.testing.assert_allclose(found.flatten(), raw / usual, rtol=1e-4, atol=1e-6)
    assert one.filled == 6


def test_a_queue_that_is_full_forgets_the_oldest():
    one = bonus(queue=6)
    one(torch.full((2, 4, 5), 100.0))
    one(torch.zeros(2, 4, 5))
    assert (one.filled, one.at) == (6, 0)
    assert one.queue.abs().max() == 0.0, "nothing of the first batch is left"


def test_a_bonus_goes_on_from_what_was_saved():
    first, other = bonus(), bonus()
    first(torch.randn(2, 4, 5))
    other.load_state_dict(first.state_dict())
    features = torch.randn(2, 4, 5)
    state = first.state_dict()
    assert torch.equal(first(features), other(features))
    assert first.magnitude == other.magnitude
    assert state["filled"] == 6, "a state is a copy"
    assert (state["queue"][6:] == 0).all()


# --- what is shown of what is imagined


def windows(channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two windows of seven frames of 2 x 3 pixels: what happened is a fifth, what was imagined two fifths."""
    return np.full((2, SEEN + 2, 2, 3, channels), 0.2), np.full((2, SEEN + 2, 2, 3, channels), 0.4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_sheet_has_three_strips_a_window_with_a_gap_where_imagining_begins(channels):
    sheet = contact_sheet(*windows(channels))
    assert sheet.shape == (2 * 3 * 2, 3 * (SEEN + 2) + GAP, 3)
    assert sheet[:, 0, 0].tolist() == [51, 51, 102, 102, 153, 153] * 2  # 0.2, 0.4 and 0.5 + 0.2 / 2, in 255ths
    gap = sheet[:, 3 * SEEN : 3 * SEEN + GAP]
    assert (gap[..., : min(channels, 3) if channels > 1 else 3] == 255).all()
    assert Image.open(BytesIO(png_of(sheet))).size == sheet.shape[1::-1]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_film_has_real_imagined_and_difference_side_by_side_frame_by_frame(channels):
    real, imagined = windows(channels)
    real[0, 3] = 1.0
    moving = film(real, imagined)
    assert moving.shape == (SEEN + 2, 2 * 2 * ENLARGED, 3 * 3 * ENLARGED, 3)
    small = moving[:, ::ENLARGED, ::ENLARGED, 0]
    assert small[0, 0].tolist() == [51] * 3 + [102] * 3 + [153] * 3
    assert small[3, 0].tolist() == [255] * 3 + [102] * 3 + [51] * 3
    assert small[3, 2].tolist() == small[0, 0].tolist()
    assert (moving[..., 2] == 0).all() == (channels == 2), "a colour that is not there is dark"
    assert gif_of(moving, 4).startswith(b"GIF89a")


# --- films of play


class Lamp:
    """Copy i ends after ``lengths[i]`` steps; a frame shows 10 · copy + steps in every pixel, of ``channels`` channels."""

    def __init__(self, lengths: list[int], channels: int, pictured: bool = False) -> None:
        self.lengths, self.channels, self.steps, self.closed = np.array(lengths), channels, 0, False
        if pictured:
            self.pictures = lambda: self.frames() + np.uint8(100)

    def reset(self, which, seeds):
        self.seeds = seeds

    def frames(self, which=None):
        shown = np.arange(len(self.lengths)) * 10 + self.steps
        frames = np.broadcast_to(shown.reshape(-1, 1, 1, 1), (len(shown), 3, 5, self.channels)).astype(np.uint8)
        return frames if which is None else frames[which]

    def step(self, actions):
        self.steps += 1
        nothing = np.zeros(len(self.lengths), bool)
        return StepOutcome(np.zeros(len(nothing), np.float32), self.steps == self.lengths, nothing)

    def close(self):
        self.closed = True


class Still:
    """An agent and its observer: nothing is done, and what was pushed is kept."""

    failed = np.zeros(3, bool)
    seeds = (0, 1, 2)

    def __init__(self) -> None:
        self.pushed: list[list[int]] = []

    def start(self, which, frames): ...

    def push(self, which, frames):
        assert len(frames) == len(which)
        self.pushed.append(which.tolist())

    def observe(self, live):
        return np.zeros((3, 1), np.float32)

    def act(self, z):
        return np.zeros((3, 1), np.int64)


def filmed(runs: list[int], channels: int = 3, pictured: bool = False) -> tuple[list[np.ndarray], Lamp, Still]:
    world, still = Lamp([2, 4, 1], channels, pictured), Still()
    return film_runs(still, Stage(3, lambda copies: world, lambda copy_run: still), runs), world, still  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("channels", [1, 3])
def test_films_end_with_each_runs_own_last_frame_and_come_in_the_order_asked_for(channels):
    films, world, still = filmed([2, 0], channels)
    assert [one[:, 0, 0, 0].tolist() for one in films] == [[20, 21], [0, 1, 2]]
    assert [one.shape for one in films] == [(2, 3, 5, 3), (3, 3, 5, 3)]
    assert world.closed
    assert still.pushed == [[0, 1]], "it stops with the last run that is filmed"


def test_a_world_that_has_pictures_is_filmed_in_them():
    films, _, _ = filmed([1], pictured=True)
    assert films[0][:, 0, 0, 0].tolist() == [110, 111, 112, 113, 114]


@pytest.mark.parametrize(("height", "width"), [(3, 5), (127, 129), (128, 131), (1, 1)])
def test_a_saved_film_has_even_sides_of_at_least_a_hundred_pixels(tmp_path, height, width):
    pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    path = save_film(pictures, tmp_path / "new" / "film")
    factor = math.ceil(128 / min(height, width))
    expected = (width * factor // 2 * 2, height * factor // 2 * 2)
    assert path.suffix in {".mp4", ".gif"}
    if path.suffix == ".gif":
        assert Image.open(path).size == expected
    else:
        import av

        with av.open(path) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert [frame.shape for frame in frames] == [(expected[1], expected[0], 3)] * 2


def test_a_gif_of_one_picture_is_that_picture():
    picture = np.zeros((1, 4, 6, 3), np.uint8)
    assert Image.open(BytesIO(gif_of(picture, 15))).size == (6, 4)
