"""What runs observe in, latents for an unchanged agent out: an encoder that learns by the slope that the agent's critics send back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Tensor

from layerscout.rl.networks.latents import LatentNetwork, OwnLosses, TunedBackbone
from layerscout.rl.networks.layers import RunNetwork
from layerscout.rl.networks.optimiser import RunAdam


class _Trained(RunNetwork):
    """The encoder and the heads of its own losses, which one optimiser moves."""

    def __init__(self, encoder: LatentNetwork, own: OwnLosses) -> None:
        super().__init__(encoder.runs)
        self.encoder, self.own = encoder, own


class LatentLearner:
    """Stands between what is observed and the agent; the agent sees 128 numbers and does not know where they come from.

    L = J_Q(z) + consistency + contrastive: the critics' loss is followed through z_t to the encoder's weights, the target's z_{t+1} is
    not. A video model below it (``backbone``) stays frozen until `tune` is called, and is then trained by the same loss.

    Parameters
    ----------
    encoder, own
        Networks of all runs.
    lr
        Step size of Adam.
    failed
        The agent's runs that failed: their encoders stop too.
    backbone
        A video model of every run before ``encoder``; None: what is observed goes straight in.
    backbone_lr
        Its step size.
    """

    def __init__(
        self,
        encoder: LatentNetwork,
        own: OwnLosses,
        lr: float,
        failed: Bool[np.ndarray, " run"],
        backbone: TunedBackbone | None = None,
        backbone_lr: float = 1e-5,
    ) -> None:
        self.encoder, self.own, self.backbone, self.tuned = encoder, own, backbone, False
        self.networks: dict[str, RunNetwork] = {"latents": _Trained(encoder, own)}
        if backbone is not None:
            self.networks["backbone"] = backbone
        steps = {"latents": lr, "backbone": backbone_lr}
        self.optimisers = {name: RunAdam(network, steps[name], failed=failed) for name, network in self.networks.items()}
        self._tape: Any = None

    def tune(self) -> None:
        """From now on take clips in place of the frozen model's features, and train the video model as well."""
        assert self.backbone is not None, "only an encoder with a video model is tuned"
        self.tuned = True

    @torch.no_grad()
    def encode(self, observed: Shaped[np.ndarray, "run batch *feature"]) -> Float32[np.ndarray, "run batch 128"]:
        """128 numbers of each observation by every run's own network, without gradients."""
        return self._latents(torch.from_numpy(observed)).numpy()

    @torch.no_grad()
    def frozen_features(self, clips: Shaped[np.ndarray, "run batch *feature"]) -> Float32[np.ndarray, "run batch feature"]:
        """Return what the video model gives before it is tuned; the same for all runs, so clips of all runs are one batch."""
        assert self.backbone is not None, "there is no video model"
        return self.backbone.shared(torch.from_numpy(clips)).numpy()

    def record(self, observed: Shaped[np.ndarray, "run twice_batch *feature"]) -> Float32[np.ndarray, "run twice_batch 128"]:
        """Return latents of z_t, then of z_{t+1}, and keep the way back from the former for `learn`."""
        size = observed.shape[1] // 2
        seen = torch.from_numpy(observed)
        with torch.enable_grad():
            z = self._latents(seen[:, :size])
            next_z = self._latents(seen[:, size:]) if self.own.contrastive else None
        if next_z is None:
            with torch.no_grad():
                next_z = self._latents(seen[:, size:])
        self._tape = z, next_z
        return torch.cat([z.detach(), next_z.detach()], dim=1).numpy()

    def learn(self, slope: Float[Tensor, "run batch 128"]) -> Float32[np.ndarray, " run"]:
        """Take a step along the critics' slope by the latents and along the encoder's own losses; return the latter before it."""
        (z, next_z), self._tape = self._tape, None
        with torch.enable_grad():
            own = self.own(z, next_z)
            total = (slope * z).sum((1, 2)) + own
        moved = [name for name in self.networks if name == "latents" or self.tuned]
        parameters = [parameter for name in moved for parameter in self.networks[name].parameters()]
        gradients = iter(torch.autograd.grad(total.sum(), parameters, allow_unused=True))
        losses = total.detach().numpy()
        for name in moved:
            for place in self.optimisers[name].gradient_views:
                gradient = next(gradients)
                place.zero_() if gradient is None else place.copy_(gradient)
            self.optimisers[name].step(losses)
        return own.detach().numpy()

    @property
    def values(self) -> list[Float[Tensor, "run parameter"]]:
        """The weights that move, a tensor a network: who averages an actor's weights averages these with them."""
        return [self.optimisers[name].values for name in self.networks if name == "latents" or self.tuned]

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Count each run's numbers that are trained now."""
        counted: Sequence[RunNetwork] = [network for name, network in self.networks.items() if name == "latents" or self.tuned]
        return np.sum([network.trainable_parameters() for network in counted], axis=0)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs: of a video model that is still frozen nothing."""
        moved = [name for name in self.networks if name == "latents" or self.tuned]
        return {"tuned": self.tuned} | {name: self.optimisers[name].state_dict() for name in moved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back.

        Raises
        ------
        DataError
            The state is of other networks.
        """
        self.tuned = bool(state["tuned"])
        for name in state.keys() - {"tuned"}:
            self.optimisers[name].load_state_dict(state[name])

    def _latents(self, seen: Shaped[Tensor, "run batch *feature"]) -> Float[Tensor, "run batch 128"]:
        return self.encoder(self.backbone(seen) if self.tuned and self.backbone is not None else seen)
