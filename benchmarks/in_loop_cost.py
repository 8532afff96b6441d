"""One update with a frozen block in the loop against the same update on cached features: milliseconds a run, by tokens and width.

    python benchmarks/in_loop_cost.py [--quick] [--json] [--device cuda]

Both are double DQN with a 64 head and batches of 32 of one run. In the loop, frames of two channels become tokens by a
patch adapter, pass one frozen transformer block (pre-norm, MLP of four widths, heads of 64), and are averaged before the
head; the gradient goes back through the block to the adapter. Cached, the head sees the block's mean token of the store.
On a CPU one torch thread, processor time; on a GPU wall time after synchronisation. Rounds alternate; figures are medians
over rounds, with the smallest and the largest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import harness
import numpy as np
import torch
from torch import nn

from layerscout.rl.agents.configs import DQNConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.adapters import InputAdapter, OutputAdapter
from layerscout.rl.networks.in_loop_network import InLoopNetwork
from layerscout.rl.networks.layers import Head

BATCH, ACTIONS, HIDDEN, PATCH, CHANNELS = 32, 5, (64,), 4, 2
SHAPES = {"full": ((16, 64), (64, 64), (16, 192), (64, 192), (64, 384), (196, 384)), "quick": ((16, 64), (16, 192), (64, 192))}
ROUNDS = {"full": 7, "quick": 3}
SECONDS = 0.5  # of the updates in one round of one side, at least one update


class Block(nn.Module):
    """A transformer block as video models have it; frozen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = max(1, width // 64)
        self.inner = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.inner.requires_grad_(False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.inner(tokens)


def batch_of(shape: tuple[int, ...], dtype: type) -> Batch:
    """Return a random batch of one run."""
    rng = np.random.default_rng(0)
    shape = (1, 2 * BATCH, *shape)
    states = rng.integers(0, 256, shape, dtype=np.uint8) if dtype is np.uint8 else rng.standard_normal(shape, np.float32)
    action = rng.integers(0, ACTIONS, (1, BATCH))
    return Batch(states, action, rng.standard_normal((1, BATCH), np.float32), np.zeros((1, BATCH), bool))


def in_loop_side(tokens: int, width: int, device: str) -> Callable[[], None]:
    """Return one update in the loop."""
    side = round(tokens**0.5)
    frames = (1, side * PATCH, side * PATCH, CHANNELS)
    block = Block(width).to(device).eval()

    def network(seeds: object) -> InLoopNetwork:
        g = InputAdapter(frames, PATCH, width, [0])
        return InLoopNetwork(g, block, OutputAdapter(g.token_grid, width, ACTIONS, [0], hidden=HIDDEN))

    agent = DQN(DQNConfig(batch=BATCH, hidden=HIDDEN), network, [0], device)
    batch = batch_of(frames, np.uint8)
    return lambda: agent.update(batch)  # type: ignore[func-returns-value]


def cached_side(width: int, device: str) -> Callable[[], None]:
    """Return one update on features of the same width."""
    agent = DQN(DQNConfig(batch=BATCH, hidden=HIDDEN), lambda seeds: Head(width, ACTIONS, [0], "mlp", HIDDEN), [0], device)
    batch = batch_of((width,), np.float32)
    return lambda: agent.update(batch)  # type: ignore[func-returns-value]


def milliseconds(update: Callable[[], None], device: str) -> float:
    """Return what one update costs, measured for half a second."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began, count = clock(), 0
    while count == 0 or clock() - began < SECONDS:
        update()
        count += 1
        if device != "cpu":
            torch.cuda.synchronize()
    return 1e3 * (clock() - began) / count


def main() -> None:
    asked = harness.options(__doc__, device=True)
    device = asked.device
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda was asked for and torch sees no GPU")
    size = "quick" if asked.quick else "full"
    torch.set_num_threads(1)
    figures: dict[str, object] = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    for tokens, width in SHAPES[size]:
        sides = {"in_loop": in_loop_side(tokens, width, device), "cached": cached_side(width, device)}
        for update in sides.values():
            update()  # the first one pays for what is set up once
        rounds = {name: [] for name in sides}
        for _ in range(ROUNDS[size]):
            for name, update in sides.items():
                rounds[name].append(milliseconds(update, device))
        for name, values in rounds.items():
            key = f"{name}_ms_{tokens}x{width}"
            figures[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        ratios = [one / other for one, other in zip(rounds["in_loop"], rounds["cached"], strict=True)]
        figures[f"times_cached_{tokens}x{width}"] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    harness.finish("in_loop_cost", ("layerscout", "torch"), figures, asked.json)


if __name__ == "__main__":
    main()
