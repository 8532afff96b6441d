"""The folder of an experiment in; report.html, paper.md, the figures and the CSV tables out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.report.chapters import chapters
from layerscout.report.experiment import gather
from layerscout.report.figures import figures
from layerscout.report.page import render
from layerscout.report.paper import write_paper
from layerscout.report.study.page import markdown, one_task, sections
from layerscout.report.study.study import study
from layerscout.report.study.units import METRICS
from layerscout.report.tables import write_tables
from layerscout.report.verdict import verdict

__all__ = ["verdict", "write_report"]


def write_report(out: Path) -> Path:
    """Write everything that can be said about the experiment in ``out`` from its own files.

    Writes ``report.html`` (one page that needs nothing else), ``paper.md``, ``figures/*.svg``, and beside every run record
    ``experiment_returns.csv``, ``experiment_summary.csv`` and ``experiment_summary_table.md``.

    Returns
    -------
    The path of ``report.html``.

    Raises
    ------
    DataError
        There is no ranking in ``out``, or one of its files cannot be read.
    """
    evidence = gather(out)
    parts = chapters(evidence)
    studied = sections(study([evidence], METRICS[:1]), scattered=False)
    curve = figures.layer_curve(evidence.ranking)
    drawn = {"layer-curve": curve} | {name: svg for part in parts for name, svg in part.figures.items()}
    drawn |= {name: svg for part in studied for name, svg in part.figures.items()}
    (out / "figures").mkdir(exist_ok=True)
    for name, svg in drawn.items():
        write_atomic(out / "figures" / f"{name}.svg", svg.encode())
    for path, record in evidence.records:
        write_tables(record, tables_folder(path, [other for other, _ in evidence.records], out))
    write_paper(evidence, parts, out / "paper.md", "".join(markdown(part, 4) for part in studied))
    page = out / "report.html"
    write_atomic(page, render(evidence, parts, curve, "".join(map(one_task, studied))).encode())
    return page


def tables_folder(path: str, paths: Sequence[str], out: Path) -> Path:
    """Return where a record's tables go: beside it, or in a folder of its name when it shares its place with another record."""
    place = (out / path).parent
    return place / Path(path).stem if sum((out / other).parent == place for other in paths) > 1 else place
