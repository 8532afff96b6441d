"""Settings and a dataset's coverage in, resolved settings and the reason out: which learner takes part, and what it was not told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from layerscout.errors import UsageError
from layerscout.rl.comparison.learners import ActionSpace, algorithm_of
from layerscout.rl.config import TrainConfig
from layerscout.rl.coverage import Coverage

# What a learner is given that is chosen by the data, where nothing else is said: they learn within 3,000 to 6,000 updates on one core.
CHOSEN: dict[str, dict[str, Any]] = {
    "iql": {"batch": 64, "hidden": (64, 64)},
    "dqn": {"batch": 64, "hidden": (64, 64), "lr": 3e-4, "gamma": 0.99, "n_step": 8, "target_interval": 100},
}
PARTS = ("dqn", "iql")  # learners that take a fixed dataset with discrete actions


class ChosenLearner(NamedTuple):
    """Settings whose ``algorithm`` is a learner's name, and why it is this one."""

    config: TrainConfig
    reason: str


def choose_learner(config: TrainConfig, actions: ActionSpace, coverage: Callable[[], Coverage]) -> ChosenLearner:
    """Choose the learner that ``algorithm = "auto"`` leaves open, and say why; nothing that the user said is changed.

    Learning offline with discrete actions, the data decide: from play with an expert in it IQL, which stays near what was done; from random
    play, which has tried everything everywhere, double Q-learning with returns eight steps ahead. Settings of just one of the two name that
    one, and it is taken as they say.

    Parameters
    ----------
    coverage
        Looks at the dataset; called only where it decides.

    Raises
    ------
    UsageError
        The learner asked for cannot take these actions, or cannot learn in this mode.
    """
    algorithm = algorithm_of(config, actions)
    if config.closed_form and config.mode != "offline":
        raise UsageError(
            f"closed forms are solved from a fixed dataset, and mode {config.mode} plays", hint="--set train.closed_form=false"
        )
    look = functools.cache(coverage)
    if algorithm == "ridge" or config.closed_form:
        config = _with_form(config, actions, look)
    if algorithm == "ridge":
        return ChosenLearner(config.model_copy(update={"scratch": False, "cnn": False, "closed_form": False}), "train.algorithm says so")
    if algorithm == "dreamer":
        return ChosenLearner(config.model_copy(update={"scratch": False, "cnn": False}), "train.algorithm says so")
    kind = "continuous" if actions.continuous else "discrete"
    if config.algorithm != "auto":
        return ChosenLearner(config, "train.algorithm says so")
    if config.mode != "offline":
        return ChosenLearner(config.model_copy(update={"algorithm": algorithm}), f"{kind} actions, learned while playing")
    if actions.continuous:
        return ChosenLearner(config.model_copy(update={"algorithm": algorithm}), "continuous actions, learned from a fixed dataset")
    said = [part for part in PARTS if getattr(config, part).model_fields_set]
    if len(said) == 1:
        return ChosenLearner(config.model_copy(update={"algorithm": said[0]}), f"train.{said[0]} has settings, and train.algorithm is auto")
    chosen = "iql" if look().kind == "expert-mixed" else "dqn"
    part = getattr(config, chosen)
    filled = {name: value for name, value in CHOSEN[chosen].items() if name not in part.model_fields_set}
    filled_config = config.model_copy(update={"algorithm": chosen, chosen: part.model_copy(update=filled)})
    return ChosenLearner(filled_config, f"{look().sentence}; {_why(chosen, filled_config)}")


def _with_form(config: TrainConfig, actions: ActionSpace, look: Callable[[], Coverage]) -> TrainConfig:
    """Settle what is solved in closed form: an expert is copied, and so are vectors, random play is improved upon."""
    form = config.ridge.form
    if form == "improvement" and actions.continuous:
        raise UsageError("a ridge for each action needs discrete actions", hint="--set train.ridge.form=cloning")
    if form == "auto":
        form = "cloning" if actions.continuous or look().kind == "expert-mixed" else "improvement"
    return config.model_copy(update={"ridge": config.ridge.model_copy(update={"form": form})})


def _why(chosen: str, config: TrainConfig) -> str:
    if chosen == "iql":
        return "implicit Q-learning stays near what was done there"
    return f"double Q-learning with returns {config.dqn.n_step} steps ahead"
