"""Laws of the networks of visual dynamics: causal attention, gradients past the codes, revival, divergence, places and back."""

from __future__ import annotations

import pytest
import torch
from pvdr_worlds import SMALL, random_tokens
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from layerscout.extract.backbones.networks.pvdr.counting import dynamics_flops
from layerscout.extract.backbones.networks.pvdr.dynamics import Normal, VisualDynamics, divergence
from layerscout.extract.backbones.networks.pvdr.space_time import SpaceTime, patches, unpatched
from layerscout.extract.backbones.networks.pvdr.tokenizer import COMMITMENT, FrameTokenizer, perplexity


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("condition", [0, SMALL.z])
def test_no_frame_sees_a_later_one(condition):
    network = SpaceTime(SMALL, SMALL.window, condition).eval()
    tokens, z = random_tokens(SMALL, 3), torch.randn(3, SMALL.z) if condition else None
    before = network(tokens, z)
    for time in range(1, SMALL.window):
        other = tokens.clone()
        other[:, time:] = random_tokens(SMALL, 3, seed=time)[:, time:]
        after = network(other, z)
        assert torch.equal(before[:, :time], after[:, :time])
        assert not torch.allclose(before[:, time:], after[:, time:])


def test_every_place_of_a_frame_sees_all_its_places():
    network = SpaceTime(SMALL, SMALL.window)
    tokens = random_tokens(SMALL, 1)
    other = tokens.clone()
    other[0, 0, 0, 0] = (tokens[0, 0, 0, 0] + 1) % SMALL.codes
    moved = (network(tokens) - network(other)).abs().amax(-1)[0]
    assert (moved > 0).all()


def test_attention_is_the_sum_that_it_stands_for():
    network = SpaceTime(SMALL, SMALL.window).blocks[0]
    x = torch.randn(2, 3, 4, SMALL.width)
    threes = network.time(x).transpose(1, 2)
    query, key, value = (part.unflatten(-1, (SMALL.heads, -1)) for part in threes.chunk(3, -1))
    scores = torch.einsum("bpthd,bpshd->bphts", query, key) / (SMALL.width // SMALL.heads) ** 0.5
    weights = scores.masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf).softmax(-1)
    expected = torch.einsum("bphts,bpshd->bpthd", weights, value).flatten(-2)
    torch.testing.assert_close(network._attend(threes, causal=True), expected)


def test_places_and_back():
    tokens = random_tokens(SMALL, 2)
    assert torch.equal(unpatched(patches(tokens, 2), 2, SMALL.grid), tokens)
    logits = torch.randn(2, 3, SMALL.places, 4, 5)
    assert unpatched(logits, 2, SMALL.grid).shape == (2, 3, 4, 4, 5)
    assert torch.equal(unpatched(logits, 2, SMALL.grid)[..., 1], unpatched(logits[..., 1], 2, SMALL.grid))


def test_the_divergence_is_the_mean_of_the_logarithms_of_the_densities_ratio():
    first = Normal(torch.tensor([[0.3, -1.0]]), torch.tensor([[-0.5, 0.2]]))
    second = Normal(torch.tensor([[-0.2, 0.4]]), torch.tensor([[0.1, -0.1]]))
    z = first.sample(torch.randn(400_000, 2))
    one, other = (torch.distributions.Normal(part.mean, part.logarithm.exp()).log_prob(z).sum(1) for part in (first, second))
    assert float(divergence(first, second)) == pytest.approx(float((one - other).mean()), abs=0.01)
    assert float(divergence(first, first)) == pytest.approx(0.0, abs=1e-6)


def test_gradients_pass_the_codes_as_if_they_were_not_there():
    tokenizer = FrameTokenizer(SMALL).double().eval()
    frames = torch.rand(2, 3, 16, 16, dtype=torch.float64) - 0.5
    vectors = tokenizer.vectors(frames).detach()
    coded = tokenizer.book[tokenizer.nearest(vectors)]
    bias = tokenizer.encoder[4].bias
    tokenizer(frames).loss.backward()

    def loss(moved):
        now = vectors + moved
        error = F.mse_loss(tokenizer.decoder((now + coded - vectors).permute(0, 3, 1, 2)), frames)
        return float((error + COMMITMENT * F.mse_loss(now, coded)).detach())

    for place in range(SMALL.code_width):
        step = torch.zeros(SMALL.code_width, dtype=torch.float64)
        step[place] = 1e-5
        assert float(bias.grad[place]) == pytest.approx((loss(step) - loss(-step)) / 2e-5, rel=1e-4)
    assert tokenizer.book.grad is None, "codes are means, not weights"


def test_codes_stay_in_use_on_a_video_that_stands_still():
    tokenizer = FrameTokenizer(SMALL).train()
    frames = (torch.rand(1, 3, 16, 16) - 0.5).expand(4, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(100):
            tokenizer(frames, generator)
        revived = perplexity(tokenizer(frames).tokens, SMALL.codes)
        plain = FrameTokenizer(SMALL).train()
        for _ in range(100):
            plain(frames)
    assert revived > 4
    assert revived > perplexity(plain(frames).tokens, SMALL.codes)


def test_a_code_is_the_mean_of_the_vectors_that_it_stands_for():
    tokenizer = FrameTokenizer(SMALL).train()
    frames = torch.rand(8, 3, 16, 16) - 0.5
    with torch.no_grad():
        for _ in range(400):
            tokens = tokenizer(frames).tokens
        vectors = tokenizer.vectors(frames)
        for code in tokens.unique():
            torch.testing.assert_close(tokenizer.book[code], vectors[tokens == code].mean(0), atol=1e-3, rtol=1e-3)


def test_perplexity_counts_codes_that_are_used_alike():
    assert perplexity(torch.zeros(10, dtype=torch.int64), 8) == pytest.approx(1.0)
    assert perplexity(torch.arange(8).repeat(3), 8) == pytest.approx(8.0)


def test_the_future_that_is_foretold_is_not_read():
    dynamics = VisualDynamics(SMALL).eval()
    tokens, z = random_tokens(SMALL, 2), torch.randn(2, SMALL.z)
    past = tokens[:, : SMALL.history]
    assert torch.equal(dynamics.decode(z, past), dynamics.decode(z, past.clone()))
    assert dynamics.plans(z, past).shape == (2, SMALL.future, SMALL.grid, SMALL.grid)
    torch.testing.assert_close(dynamics.prior(past).mean, dynamics.prior(random_tokens(SMALL, 2)[:, : SMALL.history]).mean)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_token_stays_where_the_features_of_its_place_say_so(sign):
    dynamics, tokens, z = VisualDynamics(SMALL).eval(), random_tokens(SMALL, 3), torch.randn(3, SMALL.z)
    with torch.no_grad():
        dynamics.stays.bias.fill_(sign * 50.0)
    past = tokens[:, : SMALL.history]
    same = dynamics.plans(z, past) == past[:, -1:]
    assert bool(same.all()) if sign > 0 else not bool(same.any())


def test_operations_are_counted_as_torch_counts_them():
    dynamics, tokens, noise = VisualDynamics(SMALL).eval(), random_tokens(SMALL, 1), torch.randn(1, SMALL.z)
    with FlopCounterMode(display=False) as counter:
        losses = dynamics.losses(tokens, noise)
        (losses.cross_entropy + losses.divergence).sum().backward()
    assert dynamics_flops(dynamics) == pytest.approx(counter.get_total_flops(), rel=0.15)  # torch leaves out attention on a processor


def test_losses_are_those_of_each_clip():
    dynamics, tokens, noise = VisualDynamics(SMALL).eval(), random_tokens(SMALL, 4), torch.randn(4, SMALL.z)
    together, alone = dynamics.losses(tokens, noise), [dynamics.losses(tokens[i : i + 1], noise[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together.cross_entropy, torch.cat([one.cross_entropy for one in alone]))
    torch.testing.assert_close(together.divergence, torch.cat([one.divergence for one in alone]))
