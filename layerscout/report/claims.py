"""Runs and a ranking in, the experiment's secondary claims out, each with the figures that decide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Arm, Ranking, RunRecord
from layerscout.report.numbers.association import FEWEST_LAYERS, Association, associate
from layerscout.report.numbers.over_tasks import FEWEST_TASKS
from layerscout.report.numbers.speed import area_under_curve
from layerscout.report.tables import format_estimate, format_number
from layerscout.report.verdict import Verdict, final_returns

CANDIDATES = ("ranked", "layer", "middle", "worst")  # kinds of arms that are layers of the ranked backbone


@dataclass(frozen=True)
class Claim:
    """A statement that the experiment was to test, whether the data support it, and the sentence with the numbers."""

    statement: str
    supported: bool
    sentence: str
    tested: bool = True  # False for what one task can describe and not test

    @property
    def word(self) -> str:
        """ "supported", "not supported" or, without the runs for a test, "not tested"."""
        return "supported" if self.supported else "not supported" if self.tested else "not tested"


def candidate_arms(record: RunRecord, head: str) -> tuple[Arm, ...]:
    """Return the arms that are layers of the ranked backbone, each layer once, and that have a finished run."""
    arms = {(arm.store_id, arm.layer): arm for arm in reversed(record.arms) if arm.kind in CANDIDATES and arm.head == head}
    return tuple(arm for arm in record.arms if arms.get((arm.store_id, arm.layer)) is arm and len(final_returns(record, arm.name)))


def score_and_return(record: RunRecord, head: str) -> Association | None:
    """Return how the probe score correlates with the final return over the trained layers; None where that is undefined."""
    arms = [arm for arm in candidate_arms(record, head) if arm.score is not None]
    return associate(np.array([arm.score for arm in arms], dtype=np.float64), [final_returns(record, arm.name) for arm in arms])


def transition_and_speed(record: RunRecord, ranking: Ranking, head: str) -> Association | None:
    """Return how transition R² correlates with learning speed, the area under a run's learning curve; None where that is undefined."""
    transition = {layer.name: layer.transition_r2.value for layer in ranking.candidates if layer.transition_r2 is not None}
    arms = [arm for arm in candidate_arms(record, head) if arm.layer in transition]
    return associate(
        np.array([transition[arm.layer] for arm in arms], dtype=np.float64), [learning_speeds(record, arm.name) for arm in arms]
    )


def learning_speeds(record: RunRecord, arm: str) -> Float[np.ndarray, " seed"]:
    """Return the area under each finished run's learning curve."""
    areas = [area_under_curve(run) for run in record.runs if run.arm == arm and run.final is not None]
    return np.array([value for value in areas if value is not None], dtype=np.float64)


def describe_association(association: Association | None, layers: int) -> str:
    """Return a rank correlation in words, and that one task cannot test it."""
    if association is None:
        return f"n/a: a rank correlation needs at least {FEWEST_LAYERS} layers that differ, and {layers} were trained."
    return (
        f"Spearman ρ = {format_estimate(association.spearman, 2)}, Kendall τ = {format_estimate(association.kendall, 2)} over {association.layers} layers, "
        f"intervals over seeds. Described, not tested: layers of one backbone are no independent witnesses; a test takes {FEWEST_TASKS} tasks."
    )


def claims_of(record: RunRecord, ranking: Ranking, verdict: Verdict, head: str) -> tuple[Claim, ...]:
    """Return the experiment's claims in the order in which the paper takes them up."""
    score, speed = score_and_return(record, head), transition_and_speed(record, ranking, head)
    count = len(candidate_arms(record, head))
    regret = "" if score is None else f" Taking the best-scored layer cost {score.regret:.3f} in return against the best layer trained."
    return (
        Claim("The ranked-best layer beats every control.", verdict.outcome == "supported", verdict.sentence),
        Claim("A higher score means a higher return.", False, describe_association(score, count) + regret, tested=False),
        Claim("A higher transition R² means faster learning.", False, describe_association(speed, count), tested=False),
        *claims_on_controls(verdict),
    )


def claims_on_controls(verdict: Verdict) -> tuple[Claim, ...]:
    """Return one claim a control; each follows from the claim about all of them when that holds."""
    whole = verdict.outcome == "supported"
    return tuple(
        Claim(
            f"The ranked-best layer beats {one.control}.",
            whole or (one.significant and one.mean_difference > 0),
            f"{one.difference_name.capitalize()} {format_estimate(one.difference, sign='+')} over {one.seeds} seeds, p = {format_number(one.p)}, after Holm "
            f"{format_number(one.p_holm)}{'; part of the first claim, which holds' if whole else ''}.",
        )
        for one in verdict.comparisons
    )
