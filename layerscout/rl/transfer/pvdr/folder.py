"""Pretrained networks and their figures in, a folder out: weights as safetensors, a description, and a card for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

import layerscout
from layerscout.cache.durable import write_atomic
from layerscout.cache.records.sealing import seal
from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.pvdr import PARTS
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.extract.backbones.pvdr import DESCRIPTION, WEIGHTS
from layerscout.rl.transfer.folders import CARD, facts_rows
from layerscout.rl.transfer.pvdr.judging import DynamicsFigures, TokenizerFigures

FORMAT = "layerscout-pvdr/1"


def save_model(
    folder: Path,
    tokenizer: FrameTokenizer,
    dynamics: VisualDynamics,
    figures: tuple[TokenizerFigures, DynamicsFigures],
    facts: dict[str, Any],
) -> None:
    """Write a model so that ``pvdr:FOLDER`` and the agents find it; the description comes last, and without it there is no model.

    Parameters
    ----------
    figures
        What the networks do on frames that they were not trained on.
    facts
        What they were trained on and how long.
    """
    from safetensors.torch import save

    networks: tuple[nn.Module, ...] = (tokenizer, dynamics)
    state = {
        f"{part}.{name}": value.contiguous()
        for part, network in zip(PARTS, networks, strict=True)
        for name, value in network.state_dict().items()
    }
    write_atomic(folder / WEIGHTS, save(state))
    tokens, nats = figures
    document = {
        "format": FORMAT,
        "shape": dynamics.shape.model_dump(),
        "tokenizer": asdict(tokens),
        "dynamics": asdict(nats),
        **facts,
        "layerscout": layerscout.__version__,
    }
    write_atomic(folder / CARD, _card(dynamics, tokens, nats, facts).encode())
    write_atomic(folder / DESCRIPTION, seal(f"{json.dumps(document, indent=1)}\n".encode()))


def _card(dynamics: VisualDynamics, tokens: TokenizerFigures, nats: DynamicsFigures, facts: dict[str, Any]) -> str:
    shape, share = dynamics.shape, "n/a" if tokens.error_share is None else f"{100 * tokens.error_share:.1f} %"
    return f"""---
library_name: layerscout
tags: [video, reinforcement-learning, world-model]
---

# A model of visual dynamics

{shape.history} known and {shape.future} foretold frames of {shape.size} x {shape.size} pixels; frames are {shape.tokens} tokens of {shape.codes} codes;
z, the representation of what happens, has {shape.z} numbers. {sum(one.numel() for one in dynamics.parameters()):,} parameters beside the tokenizer's.
It was trained on frames alone; no action was read.

| figure, on episodes that were kept apart | value | baseline |
|---|---:|---|
| error of frames, share of their variance | {share} | 100 %, the mean picture |
| perplexity of the codes | {tokens.perplexity:.2f} | 1, one code for everything |
| cross-entropy of the future, nats a clip | {nats.cross_entropy:.1f} | {nats.marginal:.1f}, each place's own entropy; {nats.copying:.1f}, the last frame copied |
| of that, of tokens that do not change | {nats.unchanged:.1f} | 0 |
| the same of clips that stand still | {nats.still:.2f} | 0 |
| divergence of z, nats a clip | {nats.divergence:.1f} | 0, nothing is in z |
| tokens that change | {nats.copied:.1f} of {nats.tokens} | – |

| trained | |
|---|---|
{facts_rows(facts)}

As a backbone: `layerscout extract pvdr:THIS_FOLDER DATA`. For agents that are shown a goal: `--set pvdr.model=THIS_FOLDER`.
"""
