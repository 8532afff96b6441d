"""Folders of agents with world models in, a section of the page out: losses at equal updates, the bonus, and what was imagined beside what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscout.cache.records import load
from layerscout.cache.records.world_models import FILM_NAME, SHEET_NAME, WORLD_MODEL_NAME, WorldModelRecord
from layerscout.pages.embedded import embedded
from layerscout.pages.page import bullets, folded, paragraph, section, subsection
from layerscout.pages.tables import Table
from layerscout.report.experiment import Experiment
from layerscout.showing import counted

AT = (0.1, 0.25, 0.5, 1.0)  # shares of the updates at which losses are shown
PARTS = ("picture", "reward", "divergence", "bonus", "bonus spread")
ABOUT = (
    "Mean over seeds of the parts of the world model's loss, since the mark before. Picture and reward: nats a frame, ½ of the squared error; divergence: KL of "
    "what was seen and what was foretold. Arms with a bonus learn a larger reward, so their reward losses compare only with one another. The bonus has mean 1 in the long run; "
    "its spread is the standard deviation within a batch."
)
SHEET = (
    "Windows of the first run: real, imagined, difference. The model sees the frames before the gap, and from there on only the actions."
)
PUBLISHED = (
    "For comparison, of another budget: the authors of APV report an interquartile mean of 0.954 with APV and of 0.679 with DreamerV2 on six tasks of Meta-World, after 250,000 "
    "environment steps and 600,000 updates of pretraining, over 8 seeds. Nothing here was trained as long."
)


def world_models_section(experiment: Experiment) -> str:
    """HTML with losses, what was pretrained, and imagined beside real frames; "" where no agent has a world model."""
    found = [(path, load(WorldModelRecord, path)) for path in _files(experiment)]
    if not found:
        return ""
    sheets = [_imagined(path.parent, record.arm) for path, record in found if record.sheet and (path.parent / SHEET_NAME).is_file()]
    table = losses_table([record for _, record in found])
    return section(
        "The world models",
        table.html("Losses at equal updates", ABOUT) if table.rows else paragraph("Too few updates for a mark on the curve of the losses."),
        subsection("What was pretrained", pretrained_sentences([record for _, record in found])),
        subsection("Imagined and real", *sheets, paragraph(SHEET) if sheets else ""),
        paragraph(PUBLISHED) if any(record.arm.startswith("APV") for _, record in found) else "",
    )


def pretrained_sentences(records: list[WorldModelRecord]) -> str:
    """Say of every pretrained model that arms started from what it had learned."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record.pretrained is not None:
            found.setdefault(_pretrained_sentence(record.pretrained), []).append(record.arm)
    return bullets([f"{', '.join(arms)}: {sentence}" for sentence, arms in found.items()])


def _pretrained_sentence(facts: dict[str, Any]) -> str:
    loss, mean, read = (facts.get(name) for name in ("video_loss", "mean_picture", "read_out_of_the_state"))
    parts = [counted(facts["updates"], "update") if isinstance(facts.get("updates"), int) else "an unknown number of updates"]
    if isinstance(loss, int | float) and isinstance(mean, int | float):
        parts.append(f"video loss {loss:.2f} nats a frame on episodes apart, the mean picture's {mean:.2f}")
    if isinstance(read, list):
        parts.append("R² of the state from its features: " + ", ".join("n/a" if one is None else f"{one:.2f}" for one in read))
    return "; ".join(parts)


def losses_table(records: list[WorldModelRecord]) -> Table:
    """Return every part of every arm at shares of the updates that the arms have in common."""
    marks, found = losses_at_marks(records)
    rows = tuple((arm, part, *("n/a" if value is None else f"{value:.4g}" for value in values)) for (arm, part), values in found.items())
    return Table(("Arm", "Loss", *(f"to {mark:,} updates" for mark in marks)), rows)


def losses_at_marks(records: list[WorldModelRecord]) -> tuple[list[int], dict[tuple[str, str], list[float | None]]]:
    """Return the numbers of updates that losses are compared at, and of every arm and part that has any the mean over seeds at each."""
    last = min(max((one.updates for one in record.losses), default=0) for record in records)
    marks = sorted({max(1, round(share * last)) for share in AT}) if last else []
    found = {(record.arm, part): [_mean(record, part, mark) for mark in marks] for record in records for part in PARTS}
    return marks, {which: values for which, values in found.items() if any(value is not None for value in values)}


def _mean(record: WorldModelRecord, part: str, mark: int) -> float | None:
    """Mean over seeds of what stands at the last place up to ``mark``."""
    newest: dict[int, tuple[int, float]] = {}
    for one in record.losses:
        if one.updates <= mark and part in one.losses:
            newest[one.seed] = max(newest.get(one.seed, (0, 0.0)), (one.updates, one.losses[part]))
    return sum(value for _, value in newest.values()) / len(newest) if newest else None


def _files(experiment: Experiment) -> list[Path]:
    folders = dict.fromkeys((experiment.folder / path).parent for path, _ in experiment.records)
    return [path for folder in folders for path in sorted(folder.glob(f"*/{WORLD_MODEL_NAME}"))]


def _imagined(folder: Path, arm: str) -> str:
    """Return the contact sheet of an arm, and folded behind it the film."""
    words, film = f"{arm}: real, imagined and the difference, frame by frame", folder / FILM_NAME
    moving = folded(f"{arm} as a film", embedded(film, f"{arm}: real, imagined and the difference, as a film")) if film.is_file() else ""
    return embedded(folder / SHEET_NAME, words, arm) + moving
