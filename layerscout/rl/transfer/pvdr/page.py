"""A finished comparison in, its page out: success of every arm with its interval, the model's figures beside baselines, plans beside what happened."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import RunRecord
from layerscout.extract.backbones.networks.pvdr.pvdr import read_networks
from layerscout.extract.backbones.pvdr import DESCRIPTION, read_shape
from layerscout.pages.page import Page, banner, bullets, paragraph, section
from layerscout.pages.tables import Table
from layerscout.report import tables
from layerscout.report.numbers.summaries import arm_summaries
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops.checkpoint import load_checkpoint
from layerscout.rl.seeing.rollouts import evaluation_seeds
from layerscout.rl.transfer.pvdr.arms import MakeGoalWorld, new_learner
from layerscout.rl.transfer.pvdr.rounds import Round, play_round

PAGE, SHEET = "pvdr.html", "plans.png"
SHOWN = 4  # episodes on the contact sheet
ENLARGED = 3
QUESTIONS = {  # arms beside PVDR → the question that their difference answers
    "PVDR without pretraining": "Does pretraining on videos help?",
    "PVDR without reinforcement": "Does the alignment gain by reinforcement?",
    "random plans": "Does it matter which plan is chosen?",
    "cloning on the layer": "Is planning better than copying on the same layer?",
}


def write_page(make_world: MakeGoalWorld, config: TrainConfig, record: RunRecord) -> None:
    """Write ``pvdr.html``, and the contact sheet ``plans.png`` where there is an arm that plans."""
    told = json.loads((config.pvdr.model / DESCRIPTION).read_text(encoding="utf-8"))
    sheet = _sheet(make_world, config)
    if sheet is not None:
        write_atomic(config.out / SHEET, sheet)
    success = Table(tables.paper_columns("online"), tables.summary_cells(record))
    sections = [
        section(
            "Success",
            success.html("success of every arm", "Returns are 1 where the goal was reached, else 0; the evaluation is a success rate."),
            paragraph(tables.seed_caution(record) or ""),
        ),
        section("Questions", bullets(_answers(record))),
        section(
            "What the model foretells",
            _figures(told).html("figures of the pretrained model", "On episodes that were kept apart, each beside its baseline."),
        ),
        section(
            "Plans beside what happened",
            _image(sheet),
            paragraph(
                "In pairs of lines, step by step: above what was seen, below where the plan chosen then would end; at the right the goal."
            )
            if sheet
            else paragraph("No arm planned."),
        ),
    ]
    page = Page(
        f"Planning towards a picture: {record.environment}",
        f"{len(record.arms)} arms, {config.seeds} seeds, {config.steps:,} environment steps each",
        _answer(record),
        sections,
        f"layerscout train {config.environment} --algorithm pvdr --mode online --out {config.out}",
        str(told.get("dataset", "")),
    )
    write_atomic(config.out / PAGE, page.render().encode())


def _means(record: RunRecord) -> dict[str, float | None]:
    return {one.arm.name: one.evaluation for one in arm_summaries(record)}


def _answer(record: RunRecord) -> str:
    means, random = _means(record), record.random_policy_return
    best = means.get("PVDR")
    lines = [f"Random play reaches {_rate(random)} of the goals."]
    good = best is not None and random is not None and best > random
    if best is not None:
        lines.insert(0, f"PVDR reaches {_rate(best)} of the goals.")
    return banner("Planning towards a picture", lines, good)


def _answers(record: RunRecord) -> list[str]:
    means = _means(record)
    own = means.get("PVDR")
    return [
        f"{question} {_rate(own)} with, {_rate(means[name])} for {name}."
        for name, question in QUESTIONS.items()
        if name in means and own is not None
    ]


def _rate(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.0f} %"


def _figures(told: dict[str, Any]) -> Table:
    tokens, nats = told.get("tokenizer", {}), told.get("dynamics", {})

    def shown(value: Any) -> str:
        return "n/a" if value is None else f"{value:.3g}"

    rows = (
        ("error of frames, share of their variance", shown(tokens.get("error_share")), "1, the mean picture"),
        ("perplexity of the codes", shown(tokens.get("perplexity")), "1, one code for all"),
        (
            "cross-entropy of the future, nats a clip",
            shown(nats.get("cross_entropy")),
            f"{shown(nats.get('marginal'))}, each place's own entropy",
        ),
        ("tokens that change, of a clip", shown(nats.get("copied")), "what copying the last frame gets wrong"),
        ("of the cross-entropy, of tokens that do not change, nats a clip", shown(nats.get("unchanged")), "0"),
        ("cross-entropy of clips that stand still, nats", shown(nats.get("still")), "0"),
        ("divergence of z from what is expected, nats", shown(nats.get("divergence")), "0, nothing is in z"),
    )
    return Table(("Figure", "Value", "Baseline"), rows)


def _sheet(make_world: MakeGoalWorld, config: TrainConfig) -> bytes | None:
    """Play a few evaluation episodes with the first planning arm's first seed, and draw what it saw and what it planned."""
    from PIL import Image

    planning = [arm for arm in config.pvdr.arms if arm != "cloning"]
    saved = config.out / (planning[0] if planning else "-") / "checkpoint-0.npz"
    key = (config.out / "pvdr.key").read_text(encoding="utf-8")
    state = load_checkpoint(saved, key) if planning else None
    if state is None:
        return None
    shape = read_shape(config.pvdr.model)
    world = make_world(SHOWN)
    learner = new_learner(planning[0], config.pvdr, read_networks(config.pvdr.model, shape), world.action_dimensions, 0)
    learner.load_state_dict(state["learner"])
    played = play_round(world, learner, evaluation_seeds(0, np.arange(SHOWN)), shape.history)
    world.close()
    drawn = contact_sheet(played)
    buffer = io.BytesIO()
    Image.fromarray(drawn.repeat(ENLARGED, 0).repeat(ENLARGED, 1)).save(buffer, "png")
    return buffer.getvalue()


def contact_sheet(played: Round) -> UInt8[np.ndarray, "height width 3"]:
    """Return what every copy saw, above where its plans of these moments end, and at the right the goal; white after an episode's end."""
    steps, (height, width) = len(played.deeds), played.goals.shape[1:3]
    copies = len(played.goals)
    sheet = np.full((copies * (2 * height + 3), (steps + 1) * (width + 1), 3), 255, np.uint8)
    for copy in range(copies):
        top = copy * (2 * height + 3)
        for step in np.flatnonzero(played.live[:, copy]):
            left, ending = step * (width + 1), played.deeds[step].ending
            sheet[top : top + height, left : left + width] = played.frames[step, copy]
            if ending is not None:
                sheet[top + height + 1 : top + 2 * height + 1, left : left + width] = _as_bytes(ending[copy])
        sheet[top : top + height, -width - 1 : -1] = played.goals[copy]
    return sheet


def _as_bytes(picture: Tensor) -> UInt8[np.ndarray, "height width 3"]:
    return ((picture.permute(1, 2, 0) + 0.5).clamp(0, 1) * 255).to("cpu").numpy().astype(np.uint8)


def _image(content: bytes | None) -> str:
    if content is None:
        return ""
    text = base64.b64encode(content).decode()
    words = "Frames of a few episodes, with the ends of the chosen plans below them and the goal at the right"
    return f'<figure><div class="scroll"><img alt="{words}" src="data:image/png;base64,{text}"></div></figure>'
