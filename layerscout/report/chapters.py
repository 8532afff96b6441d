"""One run record and its ranking in, everything a report says about it out: verdict, claims and figures."""

from __future__ import annotations

from dataclasses import dataclass

from layerscout.cache.records import Arm, Ranking, RunRecord
from layerscout.report.claims import CANDIDATES, Claim, candidate_arms, claims, score_and_return
from layerscout.report.experiment import Evidence
from layerscout.report.figures import figures
from layerscout.report.numbers.curves import learning_curves
from layerscout.report.verdict import OWN_NETWORK, Verdict, best_arm, final_returns, heads, verdict


@dataclass(frozen=True)
class Chapter:
    """One comparison with one post-adapter. ``figures`` maps a file name without suffix to an SVG element."""

    path: str
    title: str
    record: RunRecord
    verdict: Verdict
    claims: tuple[Claim, ...]
    figures: dict[str, str]


def chapters(evidence: Evidence) -> tuple[Chapter, ...]:
    """Return a chapter for every record and post-adapter, in the order of the files."""
    pairs = [(path, record, head) for path, record in evidence.records for head in heads(record)]
    alone = len(pairs) == 1
    return tuple(
        chapter(path, record, head, evidence.ranking, "" if alone else f"-{place}")
        for place, (path, record, head) in enumerate(pairs, start=1)
    )


def chapter(path: str, record: RunRecord, head: str, ranking: Ranking, suffix: str) -> Chapter:
    """Work one comparison out."""
    part = restrict(record, head)
    judged = verdict(part, ranking)
    best = best_arm(part, ranking)
    name = best.name if best else None
    drawn = {f"final-returns{suffix}": figures.final_points(part, name, f"final-returns{suffix}")}
    curves = learning_curves(part)
    if curves:
        drawn[f"learning-curves{suffix}"] = figures.learning_curves(
            curves, part.arms, name, record.random_policy_return, f"learning-curves{suffix}"
        )
    if any(run.final is not None for run in part.runs):
        drawn[f"profiles{suffix}"] = figures.profiles(part, name, f"profiles{suffix}")
    scored = scored_arms(part, head)
    if scored:
        returns = [final_returns(part, arm.name) for arm in scored]
        drawn[f"score-return{suffix}"] = figures.scatter(scored, returns, name, score_and_return(part, head), f"score-return{suffix}")
    title = f"{record.environment}, {record.mode} mode, {head} post-adapter"
    return Chapter(path, title, part, judged, claims(part, ranking, judged, head), drawn)


def restrict(record: RunRecord, head: str) -> RunRecord:
    """Return the part of a record with one post-adapter, and the arms that are a whole network."""
    arms = tuple(arm for arm in record.arms if arm.head == head or arm.kind in OWN_NETWORK)
    kept = {arm.name for arm in arms}
    return record.model_copy(update={"arms": arms, "runs": tuple(run for run in record.runs if run.arm in kept)})


def scored_arms(record: RunRecord, head: str) -> tuple[Arm, ...]:
    """Return the arms that can stand in the score-against-return figure: candidates first, then other arms with a score."""
    candidates = [arm for arm in candidate_arms(record, head) if arm.score is not None]
    others = [arm for arm in record.arms if arm.kind not in CANDIDATES and arm.score is not None and len(final_returns(record, arm.name))]
    return (*candidates, *others)
