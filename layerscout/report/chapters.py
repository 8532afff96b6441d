"""One run record and its ranking in, everything a report says about it out: verdict, claims and figures."""

from __future__ import annotations

from dataclasses import dataclass

from layerscout.cache.records import Arm, Ranking, RunRecord
from layerscout.pages.page import Draw
from layerscout.report.claims import CANDIDATES, Claim, candidate_arms, claims_of, score_and_return
from layerscout.report.experiment import Experiment
from layerscout.report.figures import arms as arm_figures
from layerscout.report.numbers.curves import is_curve, learning_curves
from layerscout.report.numbers.gate import Gate, judge_learning, references_of
from layerscout.report.questions import three_questions
from layerscout.report.verdict import OWN_NETWORK, Verdict, best_arm, final_returns, judge_record, post_adapters


@dataclass(frozen=True)
class Chapter:
    """One comparison with one post-adapter. ``figures`` maps a file name without suffix to a figure of any width;
    ``questions`` are claims, too, each with a test of its own."""

    path: str
    title: str
    record: RunRecord
    verdict: Verdict
    gate: Gate
    claims: tuple[Claim, ...]
    questions: tuple[Claim, ...]
    figures: dict[str, Draw]


def chapters_of(experiment: Experiment) -> tuple[Chapter, ...]:
    """Return a chapter for every record and post-adapter, in the order of the files."""
    pairs = [(path, record, head) for path, record in experiment.records for head in post_adapters(record)]
    alone = len(pairs) == 1
    return tuple(
        make_chapter(path, record, head, experiment.ranking, "" if alone else f"-{place}")
        for place, (path, record, head) in enumerate(pairs, start=1)
    )


def make_chapter(path: str, record: RunRecord, head: str, ranking: Ranking, suffix: str) -> Chapter:
    """Return the chapter of one record and post-adapter; ``suffix`` keeps its figures' files apart from those of other chapters."""
    part = restrict_to_head(record, head)
    judged = judge_record(part, ranking)
    best = best_arm(part, ranking)
    name = best.name if best else None
    drawn = {f"final-returns{suffix}": arm_figures.draw_final_returns(part, name)}
    if is_curve(curves := learning_curves(part)):
        curve_name = f"learning-curves{suffix}"
        drawn[curve_name] = arm_figures.draw_learning_curves(curves, part, name, curve_name)
    if any(run.final is not None for run in part.runs):
        drawn[f"profiles{suffix}"] = arm_figures.draw_profiles(part, name, f"profiles{suffix}")
    if scored := scored_arms(part, head):
        returns = [final_returns(part, arm.name) for arm in scored]
        drawn[f"score-return{suffix}"] = arm_figures.draw_score_and_return(
            scored, returns, name, score_and_return(part, head), references_of(part)
        )
    title = f"{record.environment}, {record.mode} mode, {head} post-adapter"
    return Chapter(
        path, title, part, judged, gate_of(part), claims_of(part, ranking, judged, head), three_questions(part, ranking, head), drawn
    )


def gate_of(record: RunRecord) -> Gate:
    """Judge whether the task was learned by some layer, pretrained or not, of the arms of one post-adapter; by any arm where none is on a layer."""
    cells = [arm for arm in record.arms if arm.kind in (*CANDIDATES, "twin")] or record.arms
    return judge_learning(
        [arm.name for arm in cells],
        [final_returns(record, arm.name) for arm in cells],
        references_of(record),
        record.algorithm,
        record.mode,
    )


def restrict_to_head(record: RunRecord, head: str) -> RunRecord:
    """Return the part of a record with one post-adapter, and the arms that are a whole network."""
    arms = tuple(arm for arm in record.arms if arm.head == head or arm.kind in OWN_NETWORK)
    kept = {arm.name for arm in arms}
    return record.model_copy(update={"arms": arms, "runs": tuple(run for run in record.runs if run.arm in kept)})


def scored_arms(record: RunRecord, head: str) -> tuple[Arm, ...]:
    """Return the arms that can stand in the score-against-return figure: candidates first, then other arms with a score."""
    candidates = [arm for arm in candidate_arms(record, head) if arm.score is not None]
    others = [arm for arm in record.arms if arm.kind not in CANDIDATES and arm.score is not None and len(final_returns(record, arm.name))]
    return (*candidates, *others)
