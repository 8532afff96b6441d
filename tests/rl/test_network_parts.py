"""Parts of networks with a leading run axis against torch itself and plain loops: critics, weighted policies, latents, their losses, and Adam."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.policy import HIGHEST, LOWEST, WeightedPolicy
from layerscout.rl.networks.convolutions import ConvNetwork, as_pictures
from layerscout.rl.networks.latents import LATENT, SHARPNESS, LatentNetwork, OwnLosses, RunNorm, TunedBackbone
from layerscout.rl.networks.layers import Head, RunLinear, through_relu, weight_generators
from layerscout.rl.networks.optimiser import ALIGNMENT, RunAdam, load_rows

SEEDS = [3, 8]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-4, atol=1e-6)


# --- critics


def critic(*, counted: tuple[float, float] = (-1.0, 1.0), trunk: bool = False, actions: int = 0) -> Critic:
    before = Head(5, 4, SEEDS, hidden=(6,)) if trunk else None
    width = 4 if trunk else 5
    return Critic(width, SEEDS, dimensions=0 if actions else 2, actions=actions, hidden=(7,), counted=counted, trunk=before)


def plain_values(network: Critic, z: torch.Tensor, action: torch.Tensor, counted: tuple[float, float] = (-1.0, 1.0)) -> torch.Tensor:
    """Both heads of both runs, layer by layer; a continuous action stands before the features, counted from elsewhere."""
    runs = []
    for run in range(2):
        x = z[run]
        if network.trunk is not None:
            x = plain_head(network.trunk, run, x)  # type: ignore[arg-type]
        if network.dimensions:
            low, high = counted
            x = torch.cat([low + (action[run] + 1) / 2 * (high - low), x], -1)
        both = [plain_head(head, run, x) for head in (network.first, network.second)]
        runs.append(torch.stack([one[:, 0] if network.dimensions else one[torch.arange(len(one)), action[run]] for one in both], -1))
    return torch.stack(runs)


def plain_head(head: Head, run: int, x: torch.Tensor) -> torch.Tensor:
    *inner, last = head.layers
    for layer in inner:
        x = torch.clamp(x @ layer.weight[run] + layer.bias[run], min=0)
    return x @ last.weight[run] + last.bias[run]


@pytest.mark.parametrize("counted", [(-1.0, 1.0), (0.0, 1.0), (2.0, 6.0)])
@pytest.mark.parametrize("trunk", [False, True])
def test_slopes_of_a_critic_are_autograds_wherever_actions_are_counted_from(counted, trunk):
    network, z, action, slope = critic(counted=counted, trunk=trunk), drawn(2, 6, 5), drawn(2, 6, 2, seed=1), drawn(2, 6, 2, seed=2)
    features = z if network.trunk is None else network.trunk(z).detach()
    values, tape = network.record_pair(z, action)
    action.requires_grad_()
    expected = plain_values(network, z, action, counted)
    close(values, expected)
    close(network(z, action), expected)
    (expected * slope).sum().backward()
    close(network.action_slope(tape, slope), action.grad)  # type: ignore[arg-type]
    out = [torch.empty_like(parameter) for parameter in network.parameters()]
    network.pull_back(tape, slope, out)
    for one, parameter in zip(out, network.parameters(), strict=True):
        close(one, parameter.grad)  # type: ignore[arg-type]
    network.trunk = None  # the features that the heads see, without what made them
    features.requires_grad_()
    (plain_values(network, features, action.detach(), counted) * slope).sum().backward()
    close(network.feature_slope(tape, slope), features.grad)  # type: ignore[arg-type]


def test_a_critic_of_discrete_actions_gives_the_values_of_those_that_were_taken():
    network, z, action, slope = critic(actions=3), drawn(2, 6, 5), torch.arange(12).reshape(2, 6) % 3, drawn(2, 6, 2, seed=2)
    values, tape = network.record_pair(z, action)
    z.requires_grad_()
    expected = plain_values(network, z, action)
    close(values, expected)
    (expected * slope).sum().backward()
    close(network.feature_slope(tape, slope), z.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dimensions", "actions"), [(0, 0), (2, 3)])
def test_a_critic_of_both_kinds_of_actions_or_of_none_is_refused(dimensions, actions):
    with pytest.raises(UsageError, match=f"{dimensions} action dimensions and {actions} discrete") as error:
        Critic(4, SEEDS, dimensions=dimensions, actions=actions)
    assert error.value.hint == "one of the two is 0, the other is not"


# --- policies that learn by weighted likelihood


@pytest.mark.parametrize("logarithm", [0.3, LOWEST - 1.0, HIGHEST + 1.0])
def test_a_weighted_policy_of_numbers_learns_as_torchs_normal_within_its_bounds(logarithm):
    policy = WeightedPolicy(Head(4, 2, SEEDS, hidden=(5,)), 2)
    policy.logarithm.data.fill_(logarithm)
    z, action, weight = drawn(2, 6, 4), drawn(2, 6, 2, seed=1), drawn(2, 6, 1, seed=2).exp()
    out = [torch.empty_like(parameter) for parameter in policy.parameters()]
    with torch.no_grad():
        found = policy.learn(z, action, weight, out)
    mean = torch.stack([plain_head(policy.trunk, run, z[run]) for run in range(2)])  # type: ignore[arg-type]
    expected = torch.distributions.Normal(mean, policy.logarithm.clamp(LOWEST, HIGHEST).exp()).log_prob(action).sum(-1)
    close(found, expected)
    (-weight[..., 0] * expected).sum().backward()
    for one, parameter in zip(out, policy.parameters(), strict=True):
        np.testing.assert_allclose(one, parameter.grad, rtol=1e-3, atol=1e-4 * (1 + float(parameter.grad.abs().max())))


def test_a_weighted_policy_of_discrete_actions_learns_as_a_softmax():
    policy = WeightedPolicy(Head(4, 3, SEEDS, hidden=(5,)))
    z, action, weight = drawn(2, 6, 4), torch.arange(12).reshape(2, 6) % 3, drawn(2, 6, 1, seed=2).exp()
    out = [torch.empty_like(parameter) for parameter in policy.parameters()]
    with torch.no_grad():
        found = policy.learn(z, action, weight, out)
    logits = torch.stack([plain_head(policy.trunk, run, z[run]) for run in range(2)])  # type: ignore[arg-type]
    expected = torch.distributions.Categorical(logits=logits).log_prob(action)
    close(found, expected)
    (-weight[..., 0] * expected).sum().backward()
    for one, parameter in zip(out, policy.parameters(), strict=True):
        close(one, parameter.grad)  # type: ignore[arg-type]


# --- latents


def test_a_norm_is_torchs_with_a_scale_and_a_shift_of_every_run():
    norm, x = RunNorm(2, 6), drawn(2, 5, 6)
    norm.scale.data, norm.shift.data = drawn(2, 1, 6, seed=1), drawn(2, 1, 6, seed=2)
    for run in range(2):
        plain = torch.nn.LayerNorm(6)
        plain.weight.data, plain.bias.data = norm.scale.data[run, 0], norm.shift.data[run, 0]
        close(norm(x)[run], plain(x[run]))


def test_a_row_without_any_difference_is_its_shift():
    norm = RunNorm(1, 4)
    norm.shift.data.fill_(0.5)
    np.testing.assert_allclose(norm(torch.full((1, 2, 4), 1e3)).detach(), 0.5, atol=1e-3)


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_a_latent_is_a_perceptron_that_ends_in_a_norm(hidden):
    network, x = LatentNetwork(3, SEEDS, hidden), drawn(2, 4, 3)
    found = network(x)
    assert found.shape == (2, 4, LATENT)
    for run in range(2):
        expected = torch.nn.functional.layer_norm(plain_head(network, run, x[run]), (LATENT,))  # type: ignore[arg-type]
        np.testing.assert_allclose(found[run].detach(), expected.detach(), atol=1e-4)
    assert network.trainable_parameters()[0] == sum(parameter[0].numel() for parameter in network.parameters())


def test_own_losses_are_their_formulas_and_their_weights():
    losses, z, following = OwnLosses(SEEDS, 0.5, 2.0), drawn(2, 4, LATENT), drawn(2, 4, LATENT, seed=1)
    found = losses(z, following)
    for run in range(2):
        away = plain_head(losses.predictor, run, z[run]) - following[run]
        own, later = (plain_head(losses.projector, run, each[run]) for each in (z, following))
        total = 0.0
        for place in range(4):
            likeness = [torch.cosine_similarity(own[place], one, dim=0).item() / SHARPNESS for one in later]
            total -= likeness[place] - math.log(sum(math.exp(one) for one in likeness))
        expected = 0.5 * away.square().mean().item() + 2.0 * total / 4
        assert found[run].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("consistency", "contrastive"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_a_loss_that_does_not_count_has_no_network(consistency, contrastive):
    losses = OwnLosses(SEEDS, consistency, contrastive)
    assert (hasattr(losses, "predictor"), hasattr(losses, "projector")) == (consistency > 0, contrastive > 0)
    alone = losses(drawn(2, 1, LATENT), drawn(2, 1, LATENT, seed=1))
    assert torch.isfinite(alone).all()
    assert (alone == 0).all() == (consistency == 0), "a single transition is told from no other"


def test_what_comes_next_is_a_goal_and_learns_nothing_from_being_foretold():
    z, following = drawn(2, 3, LATENT).requires_grad_(), drawn(2, 3, LATENT, seed=1).requires_grad_()
    OwnLosses(SEEDS, 1.0, 0.0)(z, following).sum().backward()
    assert z.grad is not None
    assert following.grad is None


def test_copies_of_a_model_begin_alike_and_learn_apart():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    tuned, clips = TunedBackbone(model, 2), drawn(2, 5, 1, 2, 2, 1)
    assert torch.equal(tuned(clips).detach(), tuned.shared(clips).detach())
    assert tuned.trainable_parameters().tolist() == [15, 15]
    assert len(list(tuned.parameters())) == 2, "the model's own weights are not learned"
    tuned(clips)[1].sum().backward()
    for stack in tuned.stacks:
        assert (stack.grad[0] == 0).all()
        assert (stack.grad[1] != 0).any()
        stack.data[1] += 1.0
    assert torch.equal(tuned(clips)[0].detach(), model(clips[0]).detach())
    assert not torch.allclose(tuned(clips)[1], model(clips[1]))


# --- layers and convolutions


def test_a_slope_passes_a_relu_where_it_let_something_through():
    assert through_relu(torch.tensor([[[5.0, 6.0, 7.0]]]), torch.tensor([[[0.0, 0.1, 3.0]]])).tolist() == [[[0.0, 6.0, 7.0]]]


def test_clips_become_pictures_with_their_frames_behind_one_another():
    clips = torch.zeros(1, 1, 2, 3, 4, 3, dtype=torch.uint8)
    clips[0, 0, 1, 2, 3, 0] = 255
    found = as_pictures(clips)
    assert found.shape == (1, 1, 6, 3, 4)
    assert (found[0, 0, 3, 2, 3].item(), found.sum().item()) == (1.0, -70.0)


@pytest.mark.parametrize("dueling", [False, True])
def test_flat_pixels_are_the_same_as_whole_ones_to_a_network_on_pixels(dueling):
    network = ConvNetwork((2, 8, 8, 1), 3, SEEDS, channels=(2, 3, 4), hidden=(5,), dueling=dueling)
    clips = torch.randint(0, 256, (2, 4, 2, 8, 8, 1), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert network(clips).shape == (2, 4, 3)
    assert torch.equal(network(clips), network(clips.flatten(2)))
    alone = ConvNetwork((2, 8, 8, 1), 3, SEEDS[1:], channels=(2, 3, 4), hidden=(5,), dueling=dueling)
    np.testing.assert_allclose(network(clips)[1].detach(), alone(clips[1:])[0].detach(), atol=1e-5)


@pytest.mark.parametrize("widths", [[1], [1, 4], [0, 2], [1, 2, 3]])
def test_live_widths_that_do_not_fit_are_refused_by_their_numbers(widths):
    with pytest.raises(UsageError, match=r"do not fit 2 runs of width 3") as error:
        RunLinear(3, 2, weight_generators(SEEDS, 0), widths)
    assert error.value.hint == "give one width a run, between 1 and the common width"


# --- Adam


def test_adam_is_the_papers_algorithm_run_by_run():
    head = Head(3, 2, SEEDS, "linear")
    optimiser, rng = RunAdam(head, 0.01, gradient_clip=1.0), np.random.default_rng(0)
    values = [parameter.detach().clone().double() for parameter in head.parameters()]
    moments = [[torch.zeros_like(value) for value in values] for _ in range(2)]
    for step in range(1, 4):
        gradients = [torch.from_numpy(rng.normal(size=tuple(value.shape)) * 10.0**-step) for value in values]
        for view, gradient in zip(optimiser.gradient_views, gradients, strict=True):
            view.copy_(gradient)
        optimiser.step(np.zeros(2))
        norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
        for place, gradient in enumerate(gradients):
            cut = gradient * torch.clamp(1.0 / (norms + 1e-6), max=1.0)[:, None, None]
            moments[0][place] = 0.9 * moments[0][place] + 0.1 * cut
            moments[1][place] = 0.999 * moments[1][place] + 0.001 * cut.square()
            first, second = moments[0][place] / (1 - 0.9**step), moments[1][place] / (1 - 0.999**step)
            values[place] = values[place] - 0.01 * first / (second.sqrt() + 1e-8)
        for parameter, value in zip(head.parameters(), values, strict=True):
            np.testing.assert_allclose(parameter.detach(), value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_run_that_breaks_keeps_its_weights_and_moments_and_is_named_once(broken):
    head = Head(2, 1, SEEDS, "linear")
    optimiser = RunAdam(head, 0.1)
    optimiser.gradient_views[0].fill_(1.0)
    optimiser.step(np.zeros(2))
    before = optimiser.state_dict()
    optimiser.gradient_views[0][1] = math.inf if broken == "gradient" else 1.0
    losses = np.array([0.0, math.nan if broken == "loss" else 0.0])
    assert optimiser.step(losses).tolist() == [False, True]
    for name in ("values", "first_moment", "second_moment"):
        after = optimiser.state_dict()[name]
        np.testing.assert_array_equal(after[1], before[name][1])
        assert (after[0] != before[name][0]).any()
    optimiser.gradient_views[0].fill_(1.0)
    assert optimiser.step(np.zeros(2)).tolist() == [False, False], "it failed before"
    np.testing.assert_array_equal(optimiser.state_dict()["values"][1], before["values"][1])


def test_rows_are_kept_at_multiples_of_64_bytes_with_nothing_between():
    head = Head(3, 2, SEEDS, "linear")
    weight = head.layers[0].weight.detach().clone()
    optimiser = RunAdam(head, 0.1)
    assert optimiser.values.shape == (2, 2 * ALIGNMENT)
    assert torch.equal(head.layers[0].weight, weight)
    assert (optimiser.values[:, 6:ALIGNMENT] == 0).all()
    optimiser.values[0, 0] = 7.0
    assert head.layers[0].weight[0, 0, 0].item() == 7.0


def test_saved_rows_of_another_shape_are_refused_by_their_name():
    with pytest.raises(DataError, match=r"saved 'values' has shape \(2, 3\), expected \(1, 3\)") as error:
        load_rows(torch.zeros(1, 3), np.zeros((2, 3), np.float32), "values")
    assert error.value.hint == "continue with the same arms, seeds and head as the saved run"
