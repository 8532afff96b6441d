"""Losses of all runs in, one Adam step of all runs out; parameters, gradients and moments are flat [run, parameter] tensors.

One flat row a run makes everything that belongs to a run one row operation: its gradient norm, its clipping, its copy into
the target network, and leaving it alone once it has failed.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.torch_private import fused_adam
from layerscout.rl.networks.layers import RunNetwork

BETAS = (0.9, 0.999)
EPSILON = 1e-8
ALIGNMENT = 16  # float32 numbers in 64 bytes
TENSORS = ("values", "first_moment", "second_moment")


def flatten(network: RunNetwork) -> Float[Tensor, "run parameter"]:
    """Move all parameters into one tensor, a row a run; from then on every parameter is a view of it.

    Each parameter starts at a multiple of 64 bytes, where the matrix library is fastest; the gaps are zero and stay zero.
    """
    parameters = list(network.parameters())
    flat = parameters[0].new_zeros(network.runs, sum(_room(parameter) for parameter in parameters))
    for parameter, view in zip(parameters, views(network, flat), strict=True):
        parameter.data = view.copy_(parameter.detach())
    return flat


def views(network: RunNetwork, flat: Float[Tensor, "run parameter"]) -> list[Tensor]:
    """Return the parts of a flat tensor that belong to the network's parameters, in their order and shape."""
    rooms = [_room(parameter) for parameter in network.parameters()]
    starts = itertools.accumulate(rooms, initial=0)
    return [
        flat[:, start : start + parameter[0].numel()].view(parameter.shape)
        for parameter, start in zip(network.parameters(), starts, strict=False)
    ]


def _room(parameter: Tensor) -> int:
    return -(-parameter[0].numel() // ALIGNMENT) * ALIGNMENT


class RunAdam:
    """Adam with gradient clipping for all runs side by side; a run that fails is left as it was, the others go on.

    Parameters
    ----------
    network
        Its parameters become views of ``values``.
    lr
        Step size.
    gradient_clip
        Largest L2 norm of one run's whole gradient; 0 = no clipping.
    failed
        The runs that have failed, shared between the optimisers of one agent; None: this one's own.

    References
    ----------
    Kingma and Ba 2015, Adam, algorithm 1 (arXiv 1412.6980).
    """

    def __init__(self, network: RunNetwork, lr: float, gradient_clip: float = 0.0, failed: Bool[np.ndarray, " run"] | None = None) -> None:
        self.values = flatten(network)
        self.lr, self.gradient_clip = lr, gradient_clip
        self.gradient = torch.zeros_like(self.values)
        self.gradient_views = views(network, self.gradient)
        self.first_moment = torch.zeros_like(self.values)
        self.second_moment = torch.zeros_like(self.values)
        self.count = torch.zeros((), device=self.values.device)
        self.failed = np.zeros(network.runs, dtype=np.bool_) if failed is None else failed

    def step(self, losses: Float[np.ndarray, " run"]) -> Bool[np.ndarray, " run"]:
        """Take one step along ``gradient_views``, which the caller has filled, on every run that has not failed.

        Returns
        -------
        The runs that failed at this step: their loss or gradient is not finite. Their weights are those before it.
        """
        norm = torch.linalg.vector_norm(self.gradient, dim=1).cpu().numpy()
        broken = ~(np.isfinite(losses) & np.isfinite(norm)) & ~self.failed
        self.failed |= broken
        if self.gradient_clip and (norm > self.gradient_clip).any():  # else the factors are one, and cost a pass over the memory
            factors = np.minimum(self.gradient_clip / (norm + 1e-6), 1.0).astype(np.float32)
            self.gradient.mul_(torch.from_numpy(factors).to(self.gradient.device)[:, None])
        if self.failed.any():
            self._adam_except(torch.from_numpy(self.failed).to(self.gradient.device))
        else:
            self._adam()
        return broken

    @torch.no_grad()
    def step_on_device(self, losses: Float[Tensor, " run"]) -> None:
        """Take the same step without asking the device for anything, so that a CUDA graph can hold it.

        A run whose loss or gradient is not finite stays as it is; nothing remembers that it failed.
        """
        norm = torch.linalg.vector_norm(self.gradient, dim=1)
        fine = (torch.isfinite(losses) & torch.isfinite(norm))[:, None]
        factors = (self.gradient_clip / (norm + 1e-6)).clamp(max=1.0)[:, None] if self.gradient_clip else torch.ones_like(norm)[:, None]
        self.gradient.copy_(torch.where(fine, self.gradient * factors, 0.0))
        tensors = (self.values, self.first_moment, self.second_moment)
        kept = [tensor.clone() for tensor in tensors]
        self._adam()
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(torch.where(fine, tensor, before))

    def _adam_except(self, left: Bool[Tensor, " run"]) -> None:
        tensors = (self.values, self.first_moment, self.second_moment)
        kept = [tensor[left] for tensor in tensors]
        self.gradient[left] = 0.0
        self._adam()
        for tensor, rows in zip(tensors, kept, strict=True):
            tensor[left] = rows

    def _adam(self) -> None:
        self.count += 1
        fused_adam()(
            [self.values],
            [self.gradient],
            [self.first_moment],
            [self.second_moment],
            [],
            [self.count],
            lr=self.lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs, as numpy arrays and numbers."""
        arrays = {name: getattr(self, name).cpu().numpy().copy() for name in TENSORS}
        return arrays | {"failed": self.failed.copy(), "count": int(self.count)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back in place.

        Raises
        ------
        DataError
            The state is of other runs or of another network.
        """
        for name in TENSORS:
            load_rows(getattr(self, name), state[name], name)
        self.failed[:] = state["failed"]
        self.count.fill_(float(state["count"]))


def load_rows(tensor: Tensor, array: np.ndarray, name: str) -> None:
    """Copy a saved array into a tensor of the same shape, or say that it does not fit."""
    if tuple(tensor.shape) != array.shape:
        raise DataError(
            f"saved '{name}' has shape {array.shape}, expected {tuple(tensor.shape)} (run, parameter)",
            hint="continue with the same arms, seeds and head as the saved run",
        )
    tensor.copy_(torch.from_numpy(array))
