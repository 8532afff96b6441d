"""A record of students with teachers in, one sentence a claim out: what the paper says of REPAINT, and what was seen here."""

from __future__ import annotations

import numpy as np

from layerscout.cache.records.transfer import TransferArm, TransferRecord
from layerscout.report.captions import percent
from layerscout.report.claims import Claim
from layerscout.report.numbers.savings import SHARES, Saving, kinds_of_teachers, last_score, savings_at, share_range, targets_of
from layerscout.report.transfer.tables import count

NO_WORSE = 1.5  # of Reacher's returns: what a harmful teacher may cost at the end there
SHARE_LOST = 1 / 3  # what it may cost elsewhere, of what the baseline gained over untrained students; on Reacher that is about as much


def transfer_claims(record: TransferRecord) -> tuple[Claim, ...]:
    """Return what can be said of every teacher's students; without a target or a baseline, of the filter alone."""
    savings, kinds, found = savings_at(record), kinds_of_teachers(record), list[Claim]()
    baseline = record.arm("baseline", None)
    for teacher, kind in kinds.items():
        arms = {arm: record.arm(arm, teacher) for arm in ("ks", "it", "repaint")}
        both = arms["repaint"]
        if baseline is not None and both is not None and targets_of(record):
            if kind == "harmful":
                found.append(_unharmed(teacher, both, baseline, record.environment))
            else:
                found += [_sooner(teacher, kind, savings[both.name]), _cheaper(teacher, kind, savings[both.name])]
                found += _order(teacher, kind, arms, savings, baseline.name)
    return (*found, *_filters(record))


def _sooner(teacher: str, kind: str, one: Saving) -> Claim:
    statement = f"With a {kind} teacher ({teacher}), REPAINT reaches the target in fewer iterations than the same student without one."
    if one.reduced is None:
        return Claim(statement, False, "The target was not reached by both.")
    interval = f" [{percent(one.low)}, {percent(one.high)}]"
    sentence = f"{count(one.iterations)} iterations, {percent(one.reduced)} fewer{interval}."
    return Claim(statement, one.low is not None and one.low > 0, sentence)


def _cheaper(teacher: str, kind: str, one: Saving) -> Claim:
    statement = f"It is also sooner in environment steps, those that the teacher ({teacher}) plays counted."
    if one.reduced_steps is None:
        return Claim(statement, False, "The target was not reached by both.")
    return Claim(
        statement,
        one.reduced_steps > 0,
        f"{count(one.steps)} steps, {percent(one.reduced_steps)} fewer; the teacher's own training not counted.",
    )


def _order(teacher: str, kind: str, arms: dict[str, TransferArm | None], savings: dict[str, Saving], baseline: str) -> list[Claim]:
    if any(arm is None for arm in arms.values()):
        return []
    names = [arms[kind_].name for kind_ in ("repaint", "ks", "it")] + [baseline]  # type: ignore[union-attr]
    iterations = [savings[name].iterations for name in names]
    figures = ", ".join(f"{name} {count(k)}" for name, k in zip(names, iterations, strict=True))
    late = [10**9 if k is None else k for k in iterations]
    holds = late[0] <= late[1] < late[2] < late[3]
    return [
        Claim(
            f"With a {kind} teacher ({teacher}), both ways together are as soon as kickstarting, which is sooner than instances, and these than neither.",
            holds,
            f"K: {figures}.",
        )
    ]


def _unharmed(teacher: str, arm: TransferArm, baseline: TransferArm, environment: str) -> Claim:
    mine, plain = last_score(arm), last_score(baseline)
    statement = f"A harmful teacher ({teacher}) does not hold REPAINT back in the end."
    gained = plain - float(np.mean(baseline.untrained))
    if "Reacher" in environment:
        allowed = NO_WORSE
    elif gained > 0.0:
        allowed = SHARE_LOST * gained
    else:
        return Claim(statement, False, f"At the end {mine:.2f}, the baseline {plain:.2f}, which is no more than untrained students earn.")
    return Claim(
        statement, mine >= plain - allowed, f"At the end {mine:.2f}, the baseline {plain:.2f}; a loss of at most {allowed:.3g} was allowed."
    )


def _filters(record: TransferRecord) -> list[Claim]:
    ranges = {arm.name: shares for arm in record.arms if (shares := share_range(arm, "kept")) is not None}
    if not ranges:
        return []
    low, high = min(low for low, _ in ranges.values()), max(high for _, high in ranges.values())
    sentence = f"Between {percent(low)} and {percent(high)} of the teacher's steps were kept in an iteration."
    return [
        Claim("The filter of the teacher's steps is one: it keeps 5 % to 50 % of them.", SHARES[0] <= low <= high <= SHARES[1], sentence)
    ]
