"""Logits of categorical variables in; one-hot samples that gradients pass, and the balanced divergence of two such distributions, out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def sample_latents(
    logits: Float[Tensor, "*batch latent class"], chances: Float[Tensor, "*batch latent"]
) -> Float[Tensor, "*batch latent class"]:
    """Draw one class of every variable, one-hot; the gradient is that of the probabilities (straight-through).

        z = onehot(k) + p − sg(p),   k the first class at which Σ p exceeds the chance

    Parameters
    ----------
    chances
        Uniform numbers in [0, 1): the draw is a function of them, so that it can be repeated.

    References
    ----------
    Hafner, Lillicrap, Norouzi & Ba 2021, "Mastering Atari with discrete world models", algorithm 1 (arXiv 2010.02193).
    """
    probabilities = logits.float().softmax(-1)
    with torch.no_grad():
        below = probabilities.cumsum(-1) <= chances[..., None]
        drawn = functional.one_hot(below.sum(-1).clamp_(max=logits.shape[-1] - 1), logits.shape[-1]).to(probabilities.dtype)
    return drawn + (probabilities - probabilities.detach())  # in this order the value is exactly one-hot


def likeliest_latents(logits: Float[Tensor, "*batch latent class"]) -> Float[Tensor, "*batch latent class"]:
    """Return the likeliest class of every variable, one-hot: what a frozen model gives, which draws nothing."""
    return functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)


def divergence(seen: Float[Tensor, "*batch latent class"], foretold: Float[Tensor, "*batch latent class"]) -> Float[Tensor, "*batch"]:
    """KL(seen ‖ foretold), summed over the variables, in nats."""
    log_seen, log_foretold = seen.float().log_softmax(-1), foretold.float().log_softmax(-1)
    return (log_seen.exp() * (log_seen - log_foretold)).sum((-1, -2))


def balanced_divergence(
    seen: Float[Tensor, "*batch latent class"], foretold: Float[Tensor, "*batch latent class"], balance: float, free_nats: float
) -> Float[Tensor, ""]:
    """KL balancing: what is foretold learns faster to be what is seen than the other way round.

        α max(mean KL(sg q ‖ p), f) + (1 − α) max(mean KL(q ‖ sg p), f)

    The mean over the batch is taken before the maximum with the free nats f, as the authors' code does.

    Parameters
    ----------
    seen, foretold
        Logits of q(z_t | h_t, o_t) and of p(z_t | h_t).
    balance, free_nats
        α and f.

    References
    ----------
    Hafner et al. 2021, algorithm 2.
    """
    towards_seen = divergence(seen.detach(), foretold).mean().clamp(min=free_nats)
    towards_foretold = divergence(seen, foretold.detach()).mean().clamp(min=free_nats)
    return balance * towards_seen + (1 - balance) * towards_foretold
