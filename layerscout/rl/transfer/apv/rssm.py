"""Embedded frames and actions in; the recurrent state-space model's latents, seen and foretold, out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.latents import likeliest_latents, sample_latents

EPSILON = 1e-3  # of the recurrent unit's layer normalisation, as in the authors' code
UPDATE_BIAS = -1.0  # at first the recurrent unit keeps most of what it holds


class Seen(NamedTuple):
    """What frames were taken for.

    ``features`` are latent and recurrent state side by side; ``posterior`` and ``prior`` the logits of the latents with the frame
    and before it.
    """

    features: Float[Tensor, "window time feature"]
    posterior: Float[Tensor, "window time latent class"]
    prior: Float[Tensor, "window time latent class"]


class NormGRU(nn.Module):
    """A gated recurrent unit whose three gates are normalised together.

        r, c, u = split(LN(W [h, x] + b));   h ← σ(u − 1) · tanh(σ(r) · c) + (1 − σ(u − 1)) · h

    References
    ----------
    Hafner et al. 2021 and the authors' ``common/nets.py``.
    """

    def __init__(self, inputs: int, deter: int) -> None:
        super().__init__()
        self.gates = nn.Linear(deter + inputs, 3 * deter)
        self.norm = nn.LayerNorm(3 * deter, eps=EPSILON)

    def forward(self, x: Float[Tensor, "*batch input"], h: Float[Tensor, "*batch deter"]) -> Float[Tensor, "*batch deter"]:
        """Return the next recurrent state from an input and the present one."""
        reset, candidate, update = self.norm(self.gates(torch.cat([h, x], -1))).chunk(3, -1)
        update = (update + UPDATE_BIAS).sigmoid()
        return torch.lerp(h, (reset.sigmoid() * candidate).tanh(), update)


class RSSM(nn.Module):
    """The recurrent state-space model with categorical latents.

        h_t = GRU(h_{t−1}, ELU(W [z_{t−1}, a_{t−1}]))        recurrent state
        p(z_t | h_t) = MLP(h_t)                              prior: foretold
        q(z_t | h_t, e_t) = MLP([h_t, e_t])                  posterior: seen

    Parameters
    ----------
    sizes
        Of latents, recurrent state and hidden layers.
    embedding
        Width of what a frame is turned into before it comes here.
    actions
        Width of an action; 0 makes the model action-free.

    References
    ----------
    Hafner et al. 2021; Seo, Lee, James & Abbeel 2022, "Reinforcement learning with action-free pre-training from videos" (arXiv 2203.13880).
    """

    def __init__(self, sizes: APVModelConfig, embedding: int, actions: int = 0) -> None:
        super().__init__()
        self.sizes = sizes
        self.into = nn.Linear(sizes.stochastic + actions, sizes.hidden)
        self.gru = NormGRU(sizes.hidden, sizes.deter)
        self.prior = nn.Sequential(nn.Linear(sizes.deter, sizes.hidden), nn.ELU(), nn.Linear(sizes.hidden, sizes.stochastic))
        self.posterior_into = nn.Linear(sizes.deter + embedding, sizes.hidden)
        self.posterior_out = nn.Linear(sizes.hidden, sizes.stochastic)

    def observe(
        self,
        embedded: Float[Tensor, "window time embedding"],
        first: Bool[Tensor, "window time"],
        chances: Float[Tensor, "window time latent"] | None,
        actions: Float[Tensor, "window time action"] | None = None,
    ) -> Seen:
        """Take windows of frames in, one after the other.

        Where an episode begins, the action before it, the latents and the recurrent state are zeros: nothing passes from one episode into
        the next.

        Parameters
        ----------
        first
            Whether an episode begins with a frame.
        chances
            Uniform numbers for the draws of the latents; None takes the likeliest.
        actions
            The action that led to each frame.
        """
        sizes, (windows, length) = self.sizes, first.shape
        keep = (~first).to(embedded.dtype)[..., None].unbind(1)
        # what does not depend on the state is computed for all times at once
        from_frame = functional.linear(embedded, self.posterior_into.weight[:, sizes.deter :], self.posterior_into.bias).unbind(1)
        from_state = self.posterior_into.weight[:, : sizes.deter]
        pushed = self._pushed(actions, first)
        h, z = embedded.new_zeros(windows, sizes.deter), embedded.new_zeros(windows, sizes.stochastic)
        states, latents, posteriors = [], [], []
        for t in range(length):
            h = self._next(h * keep[t], z * keep[t], None if pushed is None else pushed[t])
            logits = self.posterior_out(functional.elu(functional.linear(h, from_state) + from_frame[t]))
            posterior = logits.unflatten(-1, (sizes.latents, sizes.classes))
            z = (likeliest_latents(posterior) if chances is None else sample_latents(posterior, chances[:, t])).flatten(-2).to(h.dtype)
            states.append(h)
            latents.append(z)
            posteriors.append(posterior)
        recurrent = torch.stack(states, 1)
        return Seen(torch.cat([torch.stack(latents, 1), recurrent], -1), torch.stack(posteriors, 1), self.foretold(recurrent))

    def imagine(
        self,
        features: Float[Tensor, "*batch feature"],
        chances: Float[Tensor, "*batch latent"],
        actions: Float[Tensor, "*batch action"] | None = None,
    ) -> Float[Tensor, "*batch feature"]:
        """Go one step on without a frame: the latents are drawn from what is foretold."""
        z, h = features.split([self.sizes.stochastic, self.sizes.deter], -1)
        h = self._next(h, z, None if actions is None else self._action_part(actions))
        return torch.cat([sample_latents(self.foretold(h), chances).flatten(-2).to(h.dtype), h], -1)

    def see(
        self,
        features: Float[Tensor, "*batch feature"],
        embedded: Float[Tensor, "*batch embedding"],
        chances: Float[Tensor, "*batch latent"] | None,
        actions: Float[Tensor, "*batch action"] | None = None,
    ) -> Float[Tensor, "*batch feature"]:
        """Go one step on with a frame: what ``observe`` does at one time, from the features before; at a beginning those and the action are zeros."""
        z, h = features.split([self.sizes.stochastic, self.sizes.deter], -1)
        h = self._next(h, z, None if actions is None else self._action_part(actions))
        posterior = self.seen(h, embedded)
        drawn = likeliest_latents(posterior) if chances is None else sample_latents(posterior, chances)
        return torch.cat([drawn.flatten(-2).to(h.dtype), h], -1)

    def seen(self, h: Float[Tensor, "*batch deter"], embedded: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch latent class"]:
        """Return the logits of q(z | h, e)."""
        logits = self.posterior_out(functional.elu(self.posterior_into(torch.cat([h, embedded], -1))))
        return logits.unflatten(-1, (self.sizes.latents, self.sizes.classes))

    def foretold(self, h: Float[Tensor, "*batch deter"]) -> Float[Tensor, "*batch latent class"]:
        """Return the logits of p(z | h)."""
        return self.prior(h).unflatten(-1, (self.sizes.latents, self.sizes.classes))

    def _next(self, h: Tensor, z: Tensor, pushed: Tensor | None) -> Tensor:
        weight = self.into.weight[:, : self.sizes.stochastic]
        x = functional.linear(z, weight, self.into.bias)
        return self.gru(functional.elu(x if pushed is None else x + pushed), h)

    def _pushed(self, actions: Tensor | None, first: Tensor) -> tuple[Tensor, ...] | None:
        return None if actions is None else self._action_part(actions * (~first).to(actions.dtype)[..., None]).unbind(1)

    def _action_part(self, actions: Tensor) -> Tensor:
        return functional.linear(actions, self.into.weight[:, self.sizes.stochastic :])
