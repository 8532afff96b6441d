"""What agents that plan towards a picture start from, and how well z and what was done go together: written beside ``runs.json``, read by the report."""

from __future__ import annotations

from typing import Any, Literal

from layerscout.cache.records.base import Record

GOALS_NAME, SHEET_NAME, FILM_NAME = "goals.json", "plans.png", "plans.gif"  # in the folder of the agents
GOAL_ARMS = {  # as settings name them → as records and pages do
    "pvdr": "PVDR",
    "scratch": "PVDR without pretraining",
    "supervised": "PVDR without reinforcement",
    "random-plans": "random plans",
    "cloning": "cloning on the layer",
}


class GoalAlignment(Record):
    """How well the actions of one run can be told: R², pooled over their dimensions, on steps of episodes that nobody learned from.

    ``aligned`` is that of what the alignment says of z and the frame, ``linear`` that of a linear map from z alone, fitted on what the run lived
    through. None: no whole clip was lived through, or actions did not vary.
    """

    arm: str
    seed: int
    aligned: float | None
    linear: float | None


class GoalRecord(Record):
    """What the agents of a folder planned with.

    ``model`` is what the pretrained model says about itself: its shape, and its figures beside their baselines. ``alignment`` has a row for each
    run of an arm that plans; ``shown`` names the arm whose plans ``plans.png`` and ``plans.gif`` show, None where no arm plans.
    """

    format: Literal["layerscout-goals/1"] = "layerscout-goals/1"
    environment: str
    model: dict[str, Any]
    alignment: tuple[GoalAlignment, ...]
    shown: str | None
