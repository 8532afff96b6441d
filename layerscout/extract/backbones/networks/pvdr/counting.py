"""Networks in, floating point operations of an update out, counted from their shapes: multiply-adds times two, forward and backward."""

from __future__ import annotations

from torch import nn

from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics

FORWARD_AND_BACKWARD = 3 * 2  # the backward pass costs two forward ones


def row_flops(network: nn.Module) -> int:
    """Return the operations that one row costs a network of linear layers, learned from."""
    return FORWARD_AND_BACKWARD * _weights(network)


def dynamics_flops(dynamics: VisualDynamics) -> int:
    """Return the operations that one clip costs the dynamics: every linear layer at all its places and frames, and the products of attention."""
    shape, total = dynamics.shape, 0
    for trunk, frames in ((dynamics.encoder.trunk, shape.window), (dynamics.prior.trunk, shape.history), (dynamics.decoder, shape.window)):
        conditions = [getattr(block, "condition", None) for block in trunk.blocks]
        once = sum(_weights(one) for one in conditions if isinstance(one, nn.Linear))  # z, not at every place
        attended = 2 * shape.width * (shape.places + frames)  # scores and sums, over places and over frames
        total += frames * shape.places * (_weights(trunk.blocks) - once + shape.blocks * attended) + once
    total += shape.future * shape.places * (_weights(dynamics.head) + _weights(dynamics.stays))
    for reader, frames in ((dynamics.encoder, shape.window), (dynamics.prior, shape.history)):
        total += frames * shape.places * _weights(reader.squeeze) + _weights(reader.last)
    return FORWARD_AND_BACKWARD * total


def _weights(network: nn.Module) -> int:
    return sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
