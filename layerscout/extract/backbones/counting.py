"""Sizes of layers in, how many parameters they have out: plain arithmetic, so that a model is described without being built."""

from __future__ import annotations

GATED = ("geglu", "swiglu")  # activations whose first matrix is twice as wide: half of it gates the other half


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    """outputs · inputs parameters, and ``outputs`` more with a bias."""
    return inputs * outputs + (outputs if bias else 0)


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    """Parameters of a convolution with bias; ``kernel`` counts the positions that it sees, 9 for 3 x 3."""
    return kernel * inputs * outputs + outputs


def feed_forward(width: int, inner: int, activation: str = "gelu", bias: bool = True) -> int:
    """Parameters of two matrices with an activation between them: ``width`` to ``inner`` and back."""
    return linear(width, inner * (2 if activation in GATED else 1), bias) + linear(inner, width, bias)


def attention(width: int, inner: int, source: int | None = None, bias: bool = True, out_bias: bool = True) -> int:
    """Parameters of attention's four matrices.

    Parameters
    ----------
    width, inner
        Features of the tokens that ask, and of all heads together.
    source
        Features of the tokens that are asked (None: the same tokens).
    bias, out_bias
        Whether query, key and value have one, and whether the output has.
    """
    asked = width if source is None else source
    return linear(width, inner, bias) + 2 * linear(asked, inner, bias) + linear(inner, width, out_bias)
