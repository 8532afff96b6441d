"""What the API gives of comparisons, runs, decisions and looks into layers: every field described, with an example."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from layerscout.cache.records import Estimate
from layerscout.service.schemas import DIGEST, RESULT, STORE, ApiModel, RankingBrief

DATASET = DIGEST.removeprefix("sha256:")


class RefusedRanking(ApiModel):
    """A ranking that was asked for and does not belong beside the others."""

    id: str = Field(description="What was asked for.", examples=[RESULT])
    reason: str = Field(description="Why it does not belong there.", examples=["8 rankings are compared at most"])


class ScoreBeside(ApiModel):
    """What one ranking says of a layer."""

    ranking: str = Field(description="The ranking's id.", examples=[RESULT])
    place: int | None = Field(description="The layer's place in it, from 1; null where it is not in it.", examples=[2])
    score: Estimate | None = Field(description="The score that orders it; null where the layer has none.")
    difference: float | None = Field(
        description="That score minus the one in the first ranking; null where one is missing.", examples=[0.02]
    )


class ComparedLayer(ApiModel):
    """A layer in every ranking."""

    name: str = Field(description="The video model and the layer.", examples=["tiny: blocks.5"])
    scores: list[ScoreBeside] = Field(description="One entry a ranking, in their order.")


class ComparisonView(ApiModel):
    """Rankings of one dataset side by side."""

    rankings: list[RankingBrief] = Field(description="Those that are compared, at most eight; they are of the first one's dataset.")
    refused: list[RefusedRanking] = Field(description="Those that are not, with the reason.")
    same_rows: bool = Field(description="Whether all rest on the same number of transitions.", examples=[True])
    layers: list[ComparedLayer] = Field(description="Every layer, in the order of the first ranking that has it.")


class RunsBrief(ApiModel):
    """Agents that were trained side by side, or a study over several of those, as lists show them."""

    id: str = Field(description="The beginning of the digest of its file.", examples=[RESULT])
    kind: Literal["comparison", "study"] = Field(description="What it is.", examples=["comparison"])
    title: str = Field(description="The environment, or the tasks of a study.", examples=["layerscout/Intercept-v0"])
    mode: str = Field(description="How agents learned: offline, online or in-loop; empty for a study.", examples=["offline"])
    arms: int = Field(description="Arms that were compared; 0 for a study.", examples=[4])
    runs: int = Field(description="Agents that were trained; 0 for a study.", examples=[32])
    dataset: str = Field(description="Digest of the dataset, where the file tells it.", examples=[DIGEST])
    when: float = Field(description="When it was made: seconds since 1970.", examples=[1780000000.0])
    verdict: str | None = Field(
        description="The verdict in two words; null for a study and for what cannot be judged.", examples=["supported"]
    )
    damage: str = Field(description="Why it cannot be read, if it cannot.", examples=[""])


class RunsList(ApiModel):
    """Everything that was trained, newest first."""

    runs: list[RunsBrief] = Field(description="Comparisons and studies.")


class ArmReturn(ApiModel):
    """What one arm earned."""

    arm: str = Field(description="The arm's name.", examples=["blocks.5"])
    kind: str = Field(description="Its part: a ranked layer, or which control.", examples=["ranked"])
    seeds: int = Field(description="Runs that finished.", examples=[8])
    failed: int = Field(description="Runs that failed; they are in no figure.", examples=[0])
    mean: float | None = Field(description="Mean over seeds of the final return.", examples=[0.31])
    interquartile_mean: Estimate | None = Field(description="Mean of the middle half of the seeds, with its bootstrap interval.")
    evaluation: float | None = Field(description="Mean over seeds of the last greedy evaluation.", examples=[0.4])


class ControlDifference(ApiModel):
    """The best layer against one control: positive differences favour the layer."""

    control: str = Field(description="The control's arm.", examples=["pixels"])
    kind: str = Field(description="Its part in the comparison.", examples=["pixels"])
    seeds: int = Field(description="Seeds that the test rests on.", examples=[8])
    difference: Estimate | None = Field(description="Mean difference of final returns, with its interval.")
    p: float | None = Field(description="Of the test: sign flips where seeds pair, else Welch's.", examples=[0.008])
    p_holm: float | None = Field(description="The same after Holm's correction over the controls.", examples=[0.016])


class ClaimView(ApiModel):
    """A statement that the experiment was to test."""

    statement: str = Field(description="The statement.", examples=["the layer that probing ranks first beats every control"])
    outcome: Literal["supported", "not supported", "not tested"] = Field(
        description="What became of it at 5 %.", examples=["not supported"]
    )
    sentence: str = Field(description="The evidence, with its figures.", examples=["p = 0.125 with 4 seeds"])


class RunsPart(ApiModel):
    """A comparison with one post-adapter: verdict, claims and what each arm earned."""

    title: str = Field(description="Environment, mode and post-adapter.", examples=["layerscout/Grid-v0, offline mode, mlp post-adapter"])
    outcome: str = Field(description="The verdict.", examples=["supported"])
    sentence: str = Field(description="The verdict with its figures, as the report says it.", examples=["The ranked-best layer blocks.5 …"])
    learned: Literal["learned", "not learned", "cannot be judged"] = Field(
        description="Whether agents learned the task at all, by what policies earn that learn nothing.", examples=["learned"]
    )
    learned_why: str = Field(description="The figures behind that.", examples=["learned: the best cell blocks.5 returns 0.310"])
    best: str | None = Field(description="The arm of the best-ranked layer.", examples=["blocks.5"])
    arms: list[ArmReturn] = Field(description="Every arm, in the order of training.")
    controls: list[ControlDifference] = Field(description="The best layer against each control.")
    claims: list[ClaimView] = Field(description="What may be claimed.")


class MeasureView(ApiModel):
    """How far one measure of layers foretells what agents earn, over the tasks of a study."""

    name: str = Field(description="The measure.", examples=["bits_action"])
    tasks: int = Field(description="Tasks that know it.", examples=[9])
    spearman: Estimate | None = Field(description="Mean over tasks of the rank correlation within each.")
    p: float | None = Field(description="Of the t test over tasks.", examples=[0.01])
    p_holm: float | None = Field(description="The same after Holm's correction; null for the primary measure.", examples=[0.04])
    regret_1: Estimate | None = Field(description="Return given away by taking its first layer, as a share of each task's spread.")
    finding: str = Field(description="What that says.", examples=["goes with return"])


class StudyPart(ApiModel):
    """All tasks of a study with one mode, one post-adapter and one metric."""

    title: str = Field(description="Mode, post-adapter and metric.", examples=["offline, mlp, by final"])
    outcome: str = Field(description="The verdict.", examples=["not supported"])
    sentence: str = Field(description="The verdict with its figures.", examples=["S goes with the return on 9 tasks: ρ = 0.4 [0.1, 0.7]."])
    notes: list[str] = Field(description="What to know before reading it.", examples=[["2 tasks were not learned"]])
    measures: list[MeasureView] = Field(description="Every measure, the primary one first.")


class RunsDetails(ApiModel):
    """A comparison of agents, or a study."""

    brief: RunsBrief = Field(description="What lists show.")
    problem: str = Field(description="Why it cannot be judged, if it cannot.", examples=[""])
    ranking: str | None = Field(description="Id of the ranking beside it, which chose the layers.", examples=[RESULT])
    parts: list[RunsPart] = Field(description="One part a post-adapter; empty for a study.")
    study: list[StudyPart] = Field(description="One part an analysis; empty for a comparison.")


class BoardLine(ApiModel):
    """The best layer of a video model on a task."""

    ranking: str = Field(description="The ranking that says so.", examples=[RESULT])
    backbone: str = Field(description="The video model.", examples=["tiny"])
    dataset: str = Field(description="Digest of the dataset.", examples=[DIGEST])
    environment: str = Field(description="What was played, where a store tells it.", examples=["layerscout/Intercept-v0"])
    layer: str = Field(description="The best layer.", examples=["blocks.5"])
    over_untrained: Estimate | None = Field(description="Its score minus that of the same block without training; the board's order.")
    over_pixels: Estimate | None = Field(description="Its score minus that of raw pixels.")
    score: Estimate | None = Field(description="Its score; it compares only layers of one task.")
    score_kind: str = Field(description="Which score that is, with its version.", examples=["S/1"])
    returned: Estimate | None = Field(description="Interquartile mean of returns, where agents were trained on it.")
    verdict: str = Field(description="What agents say, in two words.", examples=["not trained"])
    when: float = Field(description="When it was ranked: seconds since 1970.", examples=[1780000000.0])
    by: str = Field(description="Whose files the store is; empty where that cannot be known.", examples=["ada"])
    flags: list[str] = Field(description="Reasons for doubt.", examples=[["tied"]])


class BoardView(ApiModel):
    """The best layer of every video model on every task, by what training gave, never by the score alone."""

    lines: list[BoardLine] = Field(description="The board, best gain first; what has no untrained block comes last.")
    waiting: list[str] = Field(description="Ids of stores that nobody has ranked yet.", examples=[[STORE]])


class DecisionBrief(ApiModel):
    """What to train on for one dataset, as lists show it."""

    id: str = Field(description="The dataset in addresses: its digest without the name of the algorithm.", examples=[DATASET])
    dataset: str = Field(description="The dataset as stores state it.", examples=[DIGEST])
    environment: str = Field(description="What was played, where that is known.", examples=["layerscout/Intercept-v0"])
    backbone: str | None = Field(description="The video model to train on; null before any ranking.", examples=["tiny"])
    layer: str | None = Field(description="The layer to train on; null before any ranking.", examples=["blocks.5"])
    over_untrained: Estimate | None = Field(description="Its score minus that of the same block without training.")
    surely_first: bool | None = Field(
        description="Whether it can be told from the next layers; null where that was not measured.", examples=[False]
    )
    verdict: str = Field(description="What agents say, in two words.", examples=["not trained"])


class DecisionList(ApiModel):
    """Every dataset with its answer."""

    decisions: list[DecisionBrief] = Field(description="One a dataset.")


class ReasonView(ApiModel):
    """A question about the choice, and its answer."""

    question: str = Field(description="The question.", examples=["Is it more than the picture?"])
    answer: str = Field(description="The answer with its figures.", examples=["Yes: +0.120 [+0.050, +0.190] against raw pixels."])
    shown: bool = Field(description="Whether the answer speaks for the choice.", examples=[True])


class DecisionView(ApiModel):
    """Ranking, runs and verdict of one dataset: which layer to train on, and how sure that is."""

    brief: DecisionBrief = Field(description="What lists show.")
    how_sure: str = Field(
        description="How sure the choice is, in one sentence; empty before any ranking.",
        examples=["How sure is that? Of 5 questions below, 3 speak for it, 1 speaks against it."],
    )
    tied: list[str] = Field(description="Layers that cannot be told from the first.", examples=[["blocks.4"]])
    p_top: float | None = Field(
        description="Chance of the first layer to be among the best, over resampled episode groups.", examples=[0.97]
    )
    top_k: int | None = Field(description="How many the best are.", examples=[3])
    reasons: list[ReasonView] = Field(description="What speaks for the choice and what does not.")
    command: str = Field(
        description="The command that trains agents on it; empty before any ranking.",
        examples=["layerscout train ENVIRONMENT --selection selection.json"],
    )
    ranking: str | None = Field(description="The ranking that decides.", examples=[RESULT])
    rankings: list[str] = Field(description="Ids of all its rankings, newest first.", examples=[[RESULT]])
    runs: list[str] = Field(description="Ids of the comparisons of agents on it.", examples=[[RESULT]])
    stores: list[str] = Field(description="Ids of its stores.", examples=[[STORE]])


class LookView(ApiModel):
    """One episode seen through a layer, by a linear map that was fitted on other episodes."""

    store: str = Field(description="The store's id.", examples=[STORE])
    layer: str = Field(description="The layer.", examples=["blocks.5"])
    episode: int = Field(description="The episode.", examples=[3])
    episodes: int = Field(description="How many episodes there are.", examples=[40])
    target: str = Field(description="The column that is read.", examples=["reward"])
    targets: list[str] = Field(description="Columns that can be read.", examples=[["reward", "action"]])
    steps: list[int] = Field(description="The episode's steps.", examples=[[0, 1, 2]])
    true: list[float | None] = Field(description="The target at each step; null where it is undefined.", examples=[[0.0, 1.0, None]])
    read: list[float | None] = Field(description="What the map reads from the layer at each step.", examples=[[0.1, 0.8, None]])
    r2: float | None = Field(description="R² on this episode; null where its target does not vary.", examples=[0.62])
    rows: int = Field(description="Rows that were read.", examples=[2048])
    shares: list[float] = Field(description="Shares of the variance along the first two directions of the features.", examples=[[0.4, 0.2]])
    directions: list[list[float]] = Field(
        description="Coordinates of every read row along these; empty unless asked for.", examples=[[[0.3, -1.2]]]
    )
    columns: dict[str, list[float | None]] = Field(
        description="What is known of every read row, by column; empty unless asked for.", examples=[{"step": [0.0]}]
    )
