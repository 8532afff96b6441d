"""What was done in, the words that rows, columns and captions say of it out: one place, so that no page calls three things "all"."""

from __future__ import annotations

from layerscout.cache.records import RunRecord
from layerscout.cache.records.study import StudyPair, StudyTask
from layerscout.pages.tables import UNDEFINED

PRIMARY_FIGURES = {
    "training": "mean return of the last 50 training episodes",
    "evaluation": "mean return of the last greedy evaluation",
}  # what decides every claim; fixed before anybody looks at the numbers
SHARED_EPISODES = (
    "All seeds were evaluated on the same episodes (records of before every seed got its own): luck with these episodes counts as signal, so noise "
    "ceilings are upper bounds, and intervals over seeds are too narrow."
)
LAST_EPISODES = 50  # at most, in a run's final figure


def percent(share: float | None) -> str:
    """Return a share in whole per cent, with a space before the sign, "12 %"; n/a for None."""
    return UNDEFINED if share is None else f"{100 * share:z.0f} %"


def metric_name(mode: str, metric: str = "final") -> str:
    """Return what a run's figure is: of training where agents play, of the last evaluation where they learn offline."""
    return PRIMARY_FIGURES["training" if metric == "final" and mode != "offline" else "evaluation"]


def returns_column(mode: str) -> str:
    """Heading that says over which episodes a mean return is taken: the last evaluation offline, the last 50 online."""
    return "Mean return (last evaluation)" if mode == "offline" else "Mean return (last 50)"


def overall_column(mode: str) -> str:
    """Return the heading of the mean over everything that a run played."""
    return "Mean return (all evaluations)" if mode == "offline" else "Mean return (all episodes)"


def metric_sentence(record: RunRecord) -> str:
    """Return which figure decides every claim, with how many episodes it is over."""
    if record.mode != "offline":
        return f"Primary metric: {PRIMARY_FIGURES['training']}. It decides every claim here. The greedy evaluation, without exploration, stands beside it."
    return (
        f"Primary metric: {PRIMARY_FIGURES['evaluation']} ({episodes_words(record)}), because learning offline has no training episodes. "
        "It decides every claim here."
    )


def once_evaluated(record: RunRecord) -> str:
    """Return the sentence that stands in the place of learning curves where every run was looked at once; empty where there are curves."""
    looked = {at for run in record.runs for at, values in run.evaluations if values}
    if len(looked) != 1 or any(run.status == "done" and not run.evaluations for run in record.runs):
        return ""
    unit = "updates" if record.mode == "offline" else "environment steps"
    return f"Every run was evaluated once, after {looked.pop():,} {unit}, so there is no learning curve."


def episodes_words(record: RunRecord) -> str:
    """Return over how many episodes the last evaluation of a run is."""
    counts = sorted({len(run.evaluations[-1][1]) for run in record.runs if run.evaluations})
    if not counts:
        return "no episodes"
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{many} episode{'' if counts == [1] else 's'} a seed"


def final_words(record: RunRecord) -> str:
    """Define one seed's final return, for a caption: which episodes it is the mean of."""
    if record.mode == "offline":
        return f"the mean of its last greedy evaluation ({episodes_words(record)})"
    return f"the mean of its last {LAST_EPISODES} training episodes, or of all if there were fewer"


def blocks_words(pair: StudyPair) -> str:
    """Return which blocks a row of pretrained against untrained is over: its own name, or how many the mean is over."""
    if pair.layer is not None:
        return pair.layer
    return f"mean of {pair.blocks} blocks" if pair.blocks else "mean of the blocks"


def trained_words(task: StudyTask) -> str:
    """Return how many of the layers that were ranked were trained on, for what training all of them costs."""
    trained = task.ranked_layers if task.trained_layers is None else task.trained_layers
    return f"all {task.ranked_layers}" if trained >= task.ranked_layers else f"{trained} of {task.ranked_layers}"


def shared_episodes(record: RunRecord) -> str:
    """Return the sentence that must stand with returns of seeds that all played the same evaluation episodes; empty for others."""
    return SHARED_EPISODES if record.mode == "offline" and not record.episodes_apart else ""
