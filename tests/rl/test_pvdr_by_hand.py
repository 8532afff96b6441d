"""Small parts of agents that plan towards pictures, by hand: distances, alignment, tokens, plain rounds of play, figures and what is shown."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pvdr_worlds import SMALL, random_tokens

from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.rl.seeing.planned import BETWEEN, ENLARGED, WHITE, contact_sheet, film
from layerscout.rl.transfer.pvdr.action_fit import explained, linear_fit
from layerscout.rl.transfer.pvdr.alignment import SMALLEST_DEVIATION, ActionAlignment, critic_of, seen
from layerscout.rl.transfer.pvdr.arms import GoalRun, evaluate, new_learner
from layerscout.rl.transfer.pvdr.cloning import CloningLearner
from layerscout.rl.transfer.pvdr.config import PvdrConfig
from layerscout.rl.transfer.pvdr.judging import dynamics_figures, held_out_nats, tokenizer_figures
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.rl.transfer.pvdr.planning import BLURRED_WEIGHT, nearest, picture_distance
from layerscout.rl.transfer.pvdr.pretraining import descend, falling
from layerscout.rl.transfer.pvdr.rounds import Deed, Round, play_round
from layerscout.rl.transfer.pvdr.tokens import coded, pictures
from layerscout.worlds.core import StepOutcome

# --- distances


def light(*places: tuple[int, int], side: int = 8) -> torch.Tensor:
    """One channel that is dark but for single bright pixels."""
    picture = torch.full((1, side, side), -0.5)
    for row, column in places:
        picture[0, row, column] = 0.5
    return picture


@pytest.mark.parametrize(("to", "way"), [((1, 1), 0), ((1, 5), 4), ((6, 1), 5), ((4, 4), 6)])
def test_moving_a_light_costs_the_rows_and_columns_that_it_moves(to, way):
    assert picture_distance(light((1, 1)), light(to), "transport").item() == pytest.approx(way, abs=1e-5)
    assert picture_distance(light(to), light((1, 1)), "transport").item() == pytest.approx(way, abs=1e-5)


def test_a_light_that_is_missing_costs_the_way_to_the_far_edges():
    assert picture_distance(light(), light((1, 5)), "transport").item() == pytest.approx((8 - 1) + (8 - 5), abs=1e-5)


def test_distances_of_pixels_are_sums_of_squares_in_the_mean_of_the_channels():
    first, second = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)
    first[0, 0, 0], first[1, 2, 2] = 0.5, -0.3
    assert picture_distance(first, second, "pixels").item() == pytest.approx((0.25 + 0.09) / 3)
    both = picture_distance(first, second, "both")
    np.testing.assert_allclose(both, picture_distance(first, second, "pixels") + picture_distance(first, second, "blurred"), rtol=1e-6)


def test_a_blurred_distance_is_that_of_means_over_windows_with_dark_edges():
    first, second = torch.rand(1, 8, 8), torch.rand(1, 8, 8)
    apart, total = np.pad((first - second)[0].numpy(), 1), 0.0
    for row in range(8):
        for column in range(8):
            total += apart[row : row + 3, column : column + 3].mean() ** 2
    assert picture_distance(first, second, "blurred").item() == pytest.approx(BLURRED_WEIGHT * total, rel=1e-4)


@pytest.mark.parametrize("kind", ["pixels", "blurred", "both", "transport"])
def test_many_pictures_are_as_far_as_each_alone(kind):
    many, goals = torch.rand(2, 5, 3, 16, 16) - 0.5, torch.rand(2, 1, 3, 16, 16) - 0.5
    found = picture_distance(many, goals, kind)
    assert found.shape == (2, 5)
    alone = [[picture_distance(many[copy, one], goals[copy, 0], kind) for one in range(5)] for copy in range(2)]
    np.testing.assert_allclose(found, torch.tensor(alone), rtol=1e-4)
    assert (found > 0).all()
    assert picture_distance(goals, goals, kind).abs().max() == 0


def test_of_equal_distances_the_quietest_sample_is_nearest():
    distances = torch.tensor([[3.0, 1.0, 1.0], [2.0, 2.0, 2.0], [0.5, 0.4, 0.6]])
    noise = torch.tensor([[[0.0], [5.0], [-4.0]], [[1.0], [-0.5], [0.7]], [[0.0], [9.0], [0.0]]])
    assert nearest(distances, noise).tolist() == [2, 1, 1]
    assert nearest(distances).tolist() == [1, 0, 1]


# --- alignment


def test_where_a_light_is_stands_in_the_features_in_pixels():
    """All light in row r and column c: the share above is 0, then 1; less (i + 1) / side, times the side."""
    found = seen(light((2, 0), side=4)[None])[0]
    np.testing.assert_allclose(found, [-1, -2, 4 - 3, 0, 4 - 1, 4 - 2, 4 - 3, 0], atol=1e-5)


def test_an_even_picture_and_a_dark_one_are_finite_and_brightness_does_not_count():
    even, half = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), -0.1)
    np.testing.assert_allclose(seen(even), np.zeros((1, 8)), atol=1e-5)
    np.testing.assert_allclose(seen(half), np.zeros((1, 8)), atol=1e-5)
    assert torch.isfinite(seen(torch.full((1, 3, 4, 4), -0.5))).all()


def test_the_logarithm_of_an_actions_density_is_that_of_torch():
    torch.manual_seed(0)
    alignment = ActionAlignment(2, 3, 4, hidden=5)
    alignment.logarithm.data = torch.tensor([0.3, -1.0, -9.0, 0.0])
    assert alignment.deviation()[2] == SMALLEST_DEVIATION
    z, features, actions = torch.randn(6, 2), torch.randn(6, 3), torch.randn(6, 4)
    expected = torch.distributions.Normal(alignment(z, features), alignment.deviation()).log_prob(actions).sum(1)
    np.testing.assert_allclose(alignment.log_probability(z, features, actions).detach(), expected.detach(), rtol=1e-4)


def test_a_critic_begins_with_the_alignments_body_and_shares_nothing_with_it():
    alignment = ActionAlignment(2, 3, 4, hidden=5)
    critic = critic_of(alignment)
    assert critic(torch.zeros(7, 2), torch.zeros(7, 3)).shape == (7, 1)
    for one, other in zip(alignment.body.parameters(), critic.body.parameters(), strict=True):
        assert torch.equal(one, other)
        other.data += 1.0
        assert not torch.equal(one, other)
    assert critic.logarithm.numel() == 0


# --- what is said of actions


def test_what_is_explained_is_one_less_the_share_of_the_squares_that_is_left():
    done = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])  # squares around the mean: 2 and 8
    assert explained(done, done) == 1.0
    assert explained(torch.zeros(4, 2), done) == 0.0
    assert explained(done + torch.tensor([0.5, 0.0]), done) == pytest.approx(1.0 - 4 * 0.25 / 10)
    assert explained(-done, done) == pytest.approx(1.0 - 40 / 10)
    assert explained(torch.rand(3, 2), torch.ones(3, 2)) is None


@pytest.mark.parametrize("width", [1, 4, 30])
def test_a_linear_fit_is_numpys_least_squares_with_an_intercept(width):
    rng = np.random.default_rng(width)
    z, done, others, judged = (rng.normal(size=size).astype(np.float32) for size in ((20, width), (20, 2), (9, width), (9, 2)))
    solved = np.linalg.lstsq(np.c_[z, np.ones(20)].astype(float), done.astype(float), rcond=None)[0]
    left = np.square(np.c_[others, np.ones(9)] @ solved - judged).sum()
    expected = 1 - left / np.square(judged - judged.mean(0)).sum()
    assert linear_fit(*map(torch.from_numpy, (z, done, others, judged))) == pytest.approx(expected, rel=1e-4)


# --- tokens


def test_bytes_become_halves_with_the_channel_first():
    frames = np.zeros((2, 4, 5, 3), np.uint8)
    frames[1, 2, 3, 1] = 255
    found = pictures(frames)
    assert (found.shape, found.dtype) == ((2, 3, 4, 5), torch.float32)
    assert found[1, 1, 2, 3] == 0.5
    assert found.sum() == pytest.approx(-0.5 * 120 + 1.0)


def test_tokens_of_many_frames_are_those_of_each_frame():
    torch.manual_seed(0)
    tokenizer = FrameTokenizer(SMALL).eval()
    frames = np.random.default_rng(0).integers(0, 256, (258, SMALL.size, SMALL.size, 3), dtype=np.uint8)
    found = coded(tokenizer, frames)
    assert (found.shape, found.dtype) == ((258, SMALL.grid, SMALL.grid), np.uint8)
    for one in (0, 255, 256, 257):
        np.testing.assert_array_equal(found[one], tokenizer.encode(pictures(frames[one : one + 1]))[0])


@pytest.mark.parametrize(("update", "share"), [(0, 1.0), (5, 0.55), (10, 0.1)])
def test_a_step_size_falls_on_a_line_to_a_tenth(update, share):
    assert falling(update, 10) == pytest.approx(share)


def test_a_step_is_taken_with_the_size_it_is_told_along_a_gradient_of_at_most_one():
    network = torch.nn.Linear(1, 1)
    weight, bias = network.weight.item(), network.bias.item()
    optimiser = torch.optim.SGD(network.parameters(), lr=99.0)
    descend(network, optimiser, (3.0 * network.weight + 4.0 * network.bias).sum(), 0.1)
    assert weight - network.weight.item() == pytest.approx(0.1 * 0.6, rel=1e-4)
    assert bias - network.bias.item() == pytest.approx(0.1 * 0.8, rel=1e-4)
    descend(network, optimiser, 0.5 * network.bias.sum(), 0.1)  # a small one is not stretched, and the last one is forgotten
    assert bias - network.bias.item() == pytest.approx(0.08 + 0.05, rel=1e-4)


# --- rounds of play


class Countdown:
    """Copy i reaches its goal after ``arrives[i]`` steps, or is cut off after ``cut`` of them; a frame shows how many were taken."""

    action_dimensions = 2

    def __init__(self, arrives: list[int], cut: int) -> None:
        self.arrives, self.cut, self.copies, self.steps, self.done = np.array(arrives), cut, len(arrives), 0, list[np.ndarray]()

    def reset(self, which, seeds):
        self.seeds, self.steps = seeds, 0

    def goals(self):
        return np.full((self.copies, 2, 2, 3), 200, np.uint8) + np.arange(self.copies, dtype=np.uint8).reshape(-1, 1, 1, 1)

    def frames(self):
        return np.full((self.copies, 2, 2, 3), self.steps, np.uint8)

    def step(self, actions):
        self.done.append(actions)
        self.steps += 1
        reached = self.steps == self.arrives
        return StepOutcome(reached.astype(np.float32), reached, np.full(self.copies, self.steps == self.cut))

    def close(self): ...


class Remembering:
    """A policy that asks for more than can be done, and keeps what it was shown."""

    def __init__(self) -> None:
        self.past: list[list[int]] = []
        self.live: list[list[bool]] = []

    def act(self, past, goals, live) -> Deed:
        self.past.append(past[0, :, 0, 0, 0].tolist())
        self.live.append(live.tolist())
        return Deed(np.full((len(past), 2), 3.0, np.float32))


def test_a_round_is_played_until_the_last_copy_has_ended():
    world, policy = Countdown([2, 9, 1], cut=4), Remembering()
    played = play_round(world, policy, np.array([7, 8, 9]), history=3)
    assert policy.past == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
    assert policy.live == [[True, True, True], [True, True, False], [False, True, False], [False, True, False]]
    assert played.reached.tolist() == [True, False, True]
    assert (played.steps, played.lengths.tolist()) == (7, [2, 4, 1])
    assert played.frames.shape == (5, 3, 2, 2, 3)
    assert played.actions.max() == 3.0, "what was asked for is kept as it was"
    assert max(done.max() for done in world.done) == 1.0, "and is cut where it is done"
    assert world.seeds.tolist() == [7, 8, 9]


def test_a_copy_that_arrives_after_its_end_has_not_reached_its_goal():
    played = play_round(Countdown([9, 3], cut=2), Remembering(), np.array([0, 1]), history=1)
    assert played.reached.tolist() == [False, False]
    assert played.lengths.tolist() == [2, 2]


def test_an_evaluation_is_one_for_each_goal_that_was_reached():
    run = GoalRun("pvdr", 0, lambda copies: Countdown([2, 9, 1, 4][:copies], cut=4), (10,))
    assert evaluate(run, Remembering(), 4).tolist() == [1.0, 0.0, 1.0, 1.0]


# --- what is shown of a round


def shown(channels: int = 3, ending: bool = True) -> Round:
    """Two copies of 2 x 2 pixels: the first plays two steps, the second one; plans end in grey."""
    frames = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1, 1) * 10 + np.arange(2, dtype=np.uint8).reshape(1, 2, 1, 1, 1)
    frames = np.broadcast_to(frames, (3, 2, 2, 2, channels)).copy()
    deeds = tuple(Deed(np.zeros((2, 1), np.float32), ending=torch.zeros(2, 3, 2, 2) if ending else None) for _ in range(2))
    goals = np.full((2, 2, 2, channels), 77, np.uint8)
    return Round(frames, goals, deeds, np.array([[True, True], [True, False]]), np.array([True, True]))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_shows_frames_above_the_ends_of_their_plans_and_goals_at_the_right(channels):
    sheet = contact_sheet(shown(channels))[::ENLARGED, ::ENLARGED, 0]
    assert sheet.shape == (2 * 7, 3 * 3)
    assert sheet[0].tolist() == [0, 0, WHITE, 10, 10, WHITE, 77, 77, WHITE]
    assert sheet[3].tolist() == [128, 128, WHITE, 128, 128, WHITE, WHITE, WHITE, WHITE]
    assert sheet[7].tolist() == [1, 1, WHITE, WHITE, WHITE, WHITE, 77, 77, WHITE]  # this copy's episode was over
    assert sheet[10].tolist() == [128, 128] + [WHITE] * 7
    assert (sheet[[2, 5, 6, 9, 12, 13]] == WHITE).all()


def test_where_nothing_is_planned_nothing_is_shown_of_plans():
    assert (contact_sheet(shown(ending=False))[::ENLARGED, ::ENLARGED][3:7] == WHITE).all()
    assert (film(shown(ending=False))[:, ::ENLARGED, ::ENLARGED][:, :, 2 + BETWEEN : 4 + BETWEEN] == WHITE).all()


def test_in_a_film_a_copy_stands_still_after_its_end():
    moving = film(shown())[:, ::ENLARGED, ::ENLARGED, 0]
    assert moving.shape == (3, 2 * 3 - 1, 3 * 3 - 1)
    assert moving[:, 0, 0].tolist() == [0, 10, 20]
    assert moving[:, 3, 0].tolist() == [1, 11, 11]
    assert moving[0, 0].tolist() == [0, 0, WHITE, 128, 128, WHITE, 77, 77]
    assert (moving[:, 2] == WHITE).all()


# --- figures


class Painter(SimpleNamespace):
    """A tokenizer that paints code k as an even grey of k / 10."""

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        return (tokens.float() / 10).mean((1, 2))[:, None, None, None].expand(-1, 3, 4, 4)


def test_the_error_of_frames_is_told_as_a_share_of_how_they_vary():
    frames = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 255)])
    tokens = np.zeros((2, 1, 1), np.uint8)
    figures = tokenizer_figures(Painter(book=torch.zeros(8, 1)), frames, tokens)  # all frames come out as 0; frames are ± ½
    assert figures.error_share == pytest.approx(1.0)
    assert figures.perplexity == pytest.approx(1.0)
    still = tokenizer_figures(Painter(book=torch.zeros(8, 1)), frames[:1].repeat(2, axis=0), np.array([[[0]], [[5]]], np.uint8))
    assert still.error_share is None
    assert still.perplexity == pytest.approx(2.0)


def small_dynamics() -> VisualDynamics:
    torch.manual_seed(1)
    return VisualDynamics(SMALL).eval()


def test_baselines_of_the_future_are_each_places_own_share_of_what_was_trained_on():
    clips = random_tokens(SMALL, 3)
    trained = np.random.default_rng(0).integers(0, SMALL.codes, (7, SMALL.grid, SMALL.grid)).astype(np.uint8)
    figures, nats = dynamics_figures(small_dynamics(), clips, trained), 0.0
    changed = unchanged = 0
    for clip in clips.numpy():
        for later in clip[SMALL.history :]:
            changed += int((later != clip[SMALL.history - 1]).sum())
            for row in range(SMALL.grid):
                for column in range(SMALL.grid):
                    share = np.mean(trained[:, row, column] == later[row, column])
                    nats -= math.log(max(share, 1 / 8))
                    unchanged += later[row, column] == clip[SMALL.history - 1, row, column]
    assert figures.marginal == pytest.approx(nats / 3, rel=1e-6)
    assert figures.copied == pytest.approx(changed / 3)
    assert figures.tokens == SMALL.future * SMALL.grid**2
    assert changed + unchanged == 3 * figures.tokens
    assert figures.unchanged > 0


def test_figures_of_clips_that_stand_still_are_all_of_tokens_that_do_not_change():
    clips = random_tokens(SMALL, 2)[:, :1].expand(-1, SMALL.window, -1, -1)
    figures = dynamics_figures(small_dynamics(), clips, clips[:, 0].numpy().astype(np.uint8))
    assert (figures.copied, figures.copying) == (0.0, 0.0)
    assert figures.still == pytest.approx(figures.cross_entropy, rel=1e-6)


def test_nats_are_the_same_at_every_call_and_do_not_disturb_what_is_drawn_later():
    clips, dynamics = random_tokens(SMALL, 5), small_dynamics()
    before = torch.get_rng_state()
    first, again, other = held_out_nats(dynamics, clips), held_out_nats(dynamics, clips), held_out_nats(dynamics, clips, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again
    assert first[0] != other[0]
    assert first[1] == other[1], "the divergence is in closed form: no noise is in it"


# --- learners


@pytest.mark.parametrize("arm", ["cloning", "pvdr"])
def test_an_arm_has_the_learner_of_its_name_and_begins_the_same_with_a_seed(arm):
    torch.manual_seed(0)
    networks: Any = (FrameTokenizer(SMALL), small_dynamics())
    first, same, other = (new_learner(arm, PvdrConfig(hidden=8), networks, 2, seed) for seed in (3, 3, 4))
    assert type(first) is (CloningLearner if arm == "cloning" else PvdrLearner)
    assert first.tokenizer is not networks[0]
    weights = [(one.policy if isinstance(one, CloningLearner) else one.alignment).last.weight for one in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.trained_parameters() > 0
