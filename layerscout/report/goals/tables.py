"""Results of agents that plan towards a picture in, tables of the page out: success, experiments, figures of the model, folders side by side."""

from __future__ import annotations

from typing import Any

from layerscout.cache.records import as_table_value
from layerscout.cache.records.goals import GOAL_ARMS
from layerscout.pages.tables import UNDEFINED, Column, Table
from layerscout.report.goals.results import GoalResults, differing, fit_of, nats, paired, reached, success, told_of
from layerscout.report.numbers.gate import REFERENCE_WORDS, references_of
from layerscout.report.tables import format_number, format_p

PVDR = GOAL_ARMS["pvdr"]
QUESTIONS = {  # the arm beside PVDR → what their difference answers
    "scratch": "First experiment: does pretraining on videos help?",
    "supervised": "Second experiment: does the alignment gain by reinforcement?",
    "random-plans": "Does it matter which plan is chosen?",
    "cloning": "Is planning better than copying on the same layer?",
}
HORIZON, AMOUNT = {"shape.history", "shape.future"}, {"episodes", "frames"}


def success_table(results: GoalResults) -> Table:
    """Return every arm's success with its interval, then what policies reach that learn nothing."""
    record, rows = results.record, []
    for arm in record.arms:
        hit, played = reached(record, arm.name)
        seeds = str(sum(run.arm == arm.name for run in record.runs))
        rows.append((arm.name, as_table_value(success(record, arm.name), 2), f"{hit} of {played}", seeds))
    quiet = range(len(rows), len(rows) + len(references_of(record)))
    rows += [(REFERENCE_WORDS[one.name], f"{one.mean:.2f}", "–", "–") for one in references_of(record)]
    columns = (
        "Arm",
        Column("Success", "share of goals reached in the last evaluation, without exploring; mean over seeds with Student's 95 % interval"),
        Column("Goals reached", "in the last evaluations of all seeds together"),
        "Seeds",
    )
    return Table(columns, tuple(rows), quiet=frozenset(quiet))


def experiments_table(results: GoalResults) -> Table:
    """Return PVDR beside every other arm, and the question that each pair answers; an arm that was not run says so."""
    record, there, rows = results.record, {arm.name for arm in results.record.arms}, []
    for name, question in QUESTIONS.items():
        other = GOAL_ARMS[name]
        if {PVDR, other} <= there:
            difference, p = paired(record, PVDR, other)
            with_, without = (as_table_value(success(record, arm), 2) for arm in (PVDR, other))
            rows.append((question, other, with_, without, as_table_value(difference, 2), format_p(p)))
        else:
            rows.append((question, other, "not run", "not run", UNDEFINED, UNDEFINED))
    columns = (
        "Question",
        "PVDR beside",
        Column("PVDR", "success"),
        Column("the other", "success"),
        Column("Difference", "of success, paired by seed, with Student's 95 % interval"),
        Column("p", "two-sided sign-flip test on the paired differences"),
    )
    return Table(columns, tuple(rows))


def alignment_table(results: GoalResults) -> Table:
    """Return how well actions can be told, arm by arm; no row where nothing was measured."""
    arms = dict.fromkeys(one.arm for one in results.goals.alignment)
    rows = tuple((arm, *(as_table_value(fit_of(results.goals, arm, which)) for which in ("linear", "aligned"))) for arm in arms)
    columns = (
        "Arm",
        Column("R², z alone", "of actions by a linear map from z, fitted on what the run lived through"),
        Column("R², alignment", "of actions by the alignment, from z and the frame"),
    )
    return Table(columns, rows)


def model_table(model: dict[str, Any]) -> Table:
    """Return the figures of a pretrained model, each beside its baselines."""
    tokens, said = told_of(model, "tokenizer"), told_of(model, "dynamics")
    rows = (
        ("error of frames, share of their variance", _short(tokens.get("error_share")), "1, the mean picture", "–"),
        ("perplexity of the codes", _short(tokens.get("perplexity")), "1, one code for all", "–"),
        (
            "cross-entropy of the future, nats a clip",
            _short(said.get("cross_entropy")),
            f"{_short(said.get('marginal'))}, each place's own entropy",
            f"{_short(said.get('copying'))}, the last frame copied",
        ),
        ("of that, of tokens that do not change, nats a clip", _short(said.get("unchanged")), "0", "–"),
        ("cross-entropy of clips that stand still, nats", _short(said.get("still")), "0", "–"),
        ("tokens that change, of a clip", _short(said.get("copied")), f"of {_short(said.get('tokens'))}", "–"),
        ("divergence of z from what is expected, nats", _short(said.get("divergence")), "0, nothing is in z", "–"),
    )
    return Table(("Figure", "Value", "Baseline", "Second baseline"), rows)


def side_by_side(several: tuple[GoalResults, ...]) -> Table:
    """Return several folders under what differs between them: what their models foretell, and what PVDR reaches."""
    apart = differing(several)
    columns: tuple[str | Column, ...] = (
        "Folder",
        *(Column(name) for name in apart),
        Column("Nats a frame", "held-out cross-entropy of the future over its frames"),
        Column("… marginal", "each place's own entropy"),
        Column("… copied", "the last frame copied"),
        Column("R², alignment", "of actions, steps of other episodes"),
        Column("Success of PVDR", "mean over seeds with Student's 95 % interval"),
    )
    rows = [
        (
            str(one.folder),
            *(values[place] for values in apart.values()),
            *(format_number(nats(one, name), 1) for name in ("cross_entropy", "marginal", "copying")),
            as_table_value(fit_of(one.goals, PVDR, "aligned"), 2),
            as_table_value(success(one.record, PVDR), 2),
        )
        for place, one in enumerate(several)
    ]
    return Table(columns, tuple(rows))


def what_differs(several: tuple[GoalResults, ...]) -> str:
    """Return the question that folders side by side answer, by what differs between them."""
    apart = set(differing(several))
    if apart and apart <= HORIZON:
        return "Third experiment: how far ahead?"
    if apart and apart <= AMOUNT:
        return "Open question: how much video does it take?"
    return "Folders side by side"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else UNDEFINED
