"""The folder of an experiment in; report.html, paper.md, the figures and the CSV tables out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.pages.page import WIDE, Draw
from layerscout.pages.ranking import draw_score_and_parts
from layerscout.pages.svg import file
from layerscout.report.chapters import chapters_of
from layerscout.report.experiment import Experiment, gather_experiment
from layerscout.report.page import render_report
from layerscout.report.paper import write_paper
from layerscout.report.study.page import analysis_markdown, analysis_sections, one_task
from layerscout.report.study.study import study_experiments
from layerscout.report.study.tasks import METRICS
from layerscout.report.tables import TABLE_NAMES, write_experiment_tables
from layerscout.report.verdict import judge_record

__all__ = ["judge_record", "write_report"]

RANKED = ("layer_analysis.csv", "selected_layer.txt")  # tables of the probe that people look for first


def write_report(out: Path) -> Path:
    """Write everything that can be said about the experiment in ``out`` from its own files.

    Writes ``report.html`` (one page that needs nothing else), ``paper.md``, ``figures/*.svg``, and beside every run record
    ``experiment_returns.csv``, ``experiment_summary.csv`` and ``experiment_summary_table.md``. Copies of these, and of the probe's
    ``layer_analysis.csv`` and ``selected_layer.txt``, stand beside the page.

    Returns
    -------
    The path of ``report.html``.

    Raises
    ------
    DataError
        There is no ranking in ``out``, or one of its files cannot be read.
    """
    experiment = gather_experiment(out)
    parts = chapters_of(experiment)
    studied = analysis_sections(study_experiments([experiment], METRICS[:1]), scattered=False)
    drawn: dict[str, Draw] = {"layer-curve": partial(draw_score_and_parts, experiment.ranking)}
    for figures in (*(part.figures for part in parts), *(part.figures for part in studied)):
        drawn |= figures
    write_figure_files(drawn, out / "figures")
    for path, record in experiment.records:
        write_experiment_tables(record, tables_folder(path, [other for other, _ in experiment.records], out))
    write_paper(experiment, parts, out / "paper.md", "".join(analysis_markdown(part, 4) for part in studied))
    for source, copy in owned_copies(experiment):
        write_atomic(copy, source.read_bytes())
    page = out / "report.html"
    write_atomic(page, render_report(experiment, parts, [one_task(part) for part in studied]).encode())
    return page


def owned_copies(experiment: Experiment) -> list[tuple[Path, Path]]:
    """Return which of the stages' tables are copied to the top of the folder, under their own names; of several records the first one's."""
    out = experiment.folder
    ranked = out / "probe" if (out / "probe" / "ranking.json").is_file() else out
    found = [ranked / name for name in RANKED]
    paths = [path for path, _ in experiment.records]
    found += [tables_folder(paths[0], paths, out) / name for name in TABLE_NAMES] if paths else []
    return [(path, out / path.name) for path in found if path.parent != out and (path.is_file() or path.name in TABLE_NAMES)]


def write_figure_files(drawn: dict[str, Draw], folder: Path) -> None:
    """Write figures as SVG files under their names, at the width of a page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in drawn.items():
        write_atomic(folder / f"{name}.svg", file(draw(WIDE)).encode())


def tables_folder(path: str, paths: Sequence[str], out: Path) -> Path:
    """Return where a record's tables go: beside it, or in a folder of its name when it shares its place with another record."""
    place = (out / path).parent
    return place / Path(path).stem if sum((out / other).parent == place for other in paths) > 1 else place
