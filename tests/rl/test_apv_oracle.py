"""Our recurrent model, divergence, returns and distribution of actions against sheeprl's DreamerV2, whose figures ``golden/sheeprl_dreamer.py`` wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.heads import ActionDistribution
from layerscout.rl.transfer.apv.imagination import returns_of
from layerscout.rl.transfer.apv.latents import balanced_divergence
from layerscout.rl.transfer.apv.rssm import RSSM

NAMES = {  # ours → sheeprl's
    "into": "recurrent_model.mlp._model.0",
    "gru.gates": "recurrent_model.rnn.linear",
    "gru.norm": "recurrent_model.rnn.layer_norm",
    "prior.0": "transition_model._model.0",
    "prior.2": "transition_model._model.2",
    "posterior_into": "representation_model._model.0",
    "posterior_out": "representation_model._model.2",
}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent / "golden" / "sheeprl_dreamer.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@torch.no_grad()
def test_one_step_of_the_recurrent_model_with_beginnings_is_sheeprls(golden):
    model = RSSM(APVModelConfig(size=8, stages=1, latents=3, classes=4, deter=8, hidden=6), 5, actions=2)
    parts = [(f"{ours}.{kind}", golden[f"weight.{theirs}.{kind}"]) for ours, theirs in NAMES.items() for kind in ("weight", "bias")]
    model.load_state_dict(dict(parts))
    z, h, action, embedded, first = (golden[f"given.{name}"][0] for name in ("z", "h", "action", "embedded", "first"))
    before = torch.cat([z.flatten(-2), h], -1) * (1 - first)
    found = model.see(before, embedded, None, action * (1 - first))[:, -8:]
    torch.testing.assert_close(found, golden["h"][0], **CLOSE)
    torch.testing.assert_close(model.seen(found, embedded), golden["posterior"][0], **CLOSE)
    torch.testing.assert_close(model.foretold(found), golden["prior"][0], **CLOSE)


@pytest.mark.parametrize("free", [0.0, 1.0, 3.0])
def test_the_divergence_is_sheeprls_also_below_the_free_nats(golden, free):
    found = balanced_divergence(golden["given.seen"], golden["given.foretold"], 0.8, free)
    torch.testing.assert_close(found, golden[f"divergence.{free}"], **CLOSE)


def test_returns_are_sheeprls(golden):
    rewards, values, discounts, last = (golden[f"given.{name}"][..., 0] for name in ("rewards", "values", "discounts", "last"))
    torch.testing.assert_close(returns_of(rewards, values, discounts, last[0], 0.95), golden["returns"][..., 0], **CLOSE)


def test_density_and_entropy_of_numbers_are_sheeprls_for_the_same_output_of_the_network(golden):
    distribution = ActionDistribution(None, golden["given.mean"].tanh(), 2 * (golden["given.spread"] / 2).sigmoid() + 0.1)
    torch.testing.assert_close(distribution.log_probability(golden["given.drawn"]), golden["density"], **CLOSE)
    torch.testing.assert_close(distribution.entropy, golden["entropy"], **CLOSE)
