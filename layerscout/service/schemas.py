"""What the API takes and gives: every field described, every model with an example."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

STORE = "ls1-0123456789abcdef0123456789abcdef"
RESULT = "6888dfad7491402bdc0454a36a6cb67b"
DIGEST = "sha256:8cd4acb0d72128c66f1412356fd74874cdfe5090ef02466e54ddd9099e99220d"


class ApiModel(BaseModel):
    """Base of what the API gives: no unknown fields, and no figure that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ProblemDetails(ApiModel):
    """What went wrong (RFC 9457), with the kind, the hint and the exit code of the command line."""

    type: str = Field(description="Address of the page about this kind of problem.", examples=["https://github.com/layerscout/layerscout"])
    title: str = Field(description="The HTTP status in words.", examples=["There is nothing here"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What failed, what was seen, what was expected.", examples=["no store 'best' here"])
    instance: str = Field(description="The path that was asked for.", examples=["/api/v1/stores/best"])
    kind: str = Field(description="A word for programs: usage, data, budget, missing_extra or bug.", examples=["data"])
    hint: str = Field(description="The next step.", examples=["the list of stores has all ids and names"])
    exit_code: int = Field(description="What the command line would end with.", examples=[4])


class Health(ApiModel):
    """Whether the server is there, and what it does."""

    version: str = Field(description="Version of layerscout.", examples=["0.1.0"])
    takes_jobs: bool = Field(description="Whether jobs can be submitted.", examples=[True])
    why: str = Field(description="Why not, if not.", examples=[""])
    stores: int = Field(description="Stores that are listed; 0 to whoever is not logged in.", examples=[12])
    running: int = Field(description="Jobs that run now.", examples=[1])


class StoreBrief(ApiModel):
    """A store as lists show it."""

    id: str = Field(description="The digest of everything that its numbers were computed from.", examples=[STORE])
    names: list[str] = Field(description="Names that people gave it.", examples=[["best"]])
    backbone: str | None = Field(description="The video model; null where the store is damaged.", examples=["tiny"])
    dataset: str | None = Field(description="Digest of the dataset's content.", examples=[DIGEST])
    rows: int | None = Field(description="Rows, one a frame.", examples=[1583])
    layers: list[str] = Field(description="Names of its layers; empty for a store elsewhere.", examples=[["blocks.0", "pixels"]])
    bytes: int = Field(description="Bytes of all its files.", examples=[27900000])
    created: str | None = Field(description="When it was committed: ISO 8601, UTC.", examples=["2026-05-31T10:00:00+00:00"])
    by: str = Field(description="Whose files they are; empty where that cannot be known.", examples=["ada"])
    pinned: bool = Field(description="Whether it is kept from deletion.", examples=[False])
    verified: float | None = Field(
        description="When every file was last compared with the manifest: seconds since 1970.", examples=[1780000000.0]
    )
    damage: str | None = Field(description="What is damaged, if anything is.", examples=[None])
    here: bool = Field(description="Whether it lies on this server's disks, so that it can be probed.", examples=[True])


class StoreList(ApiModel):
    """A page of stores."""

    count: int = Field(description="How many stores fit.", examples=[1])
    page: int = Field(description="Which page this is, from 1.", examples=[1])
    pages: int = Field(description="How many pages there are.", examples=[1])
    stores: list[StoreBrief] = Field(description="At most fifty stores.")


class StoreLayer(ApiModel):
    """A layer of a store."""

    name: str = Field(description="Its name.", examples=["blocks.3"])
    role: str = Field(description="layer, or control for raw pixels.", examples=["layer"])
    depth: int = Field(description="Its place in forward order.", examples=[3])
    width: int = Field(description="Features of a row.", examples=[384])
    dtype: str = Field(description="Type of the stored numbers.", examples=["float16"])
    module: str = Field(description="The module of the network that it was read from.", examples=["blocks.3"])
    bytes: int = Field(description="Bytes of its chunks.", examples=[1000000])


class StoreDetails(ApiModel):
    """Everything that is known of a store without reading its numbers."""

    brief: StoreBrief = Field(description="What lists show.")
    layers: list[StoreLayer] = Field(description="Its layers in forward order; empty for a damaged store and for one elsewhere.")
    identity: dict[str, Any] = Field(description="What its id is the digest of.", examples=[{"backbone": {"name": "tiny"}}])
    provenance: dict[str, Any] = Field(
        description="How it came to be, as its writer tells it; nobody has to believe it.", examples=[{"device": "cpu"}]
    )
    rankings: list[str] = Field(description="Ids of the rankings that used it.", examples=[[RESULT]])
    problems: list[str] = Field(description="What the last verification found.", examples=[[]])


class PlanCost(ApiModel):
    """What a question costs, as ``layerscout probe --dry-run --measure`` tells it, and the id of its answer."""

    id: str = Field(
        description="The beginning of the question's digest: over manifests, settings that change numbers, and the algorithm's version.",
        examples=[RESULT],
    )
    answer: str | None = Field(description="Id of the ranking that answers it already.", examples=[None])
    memory: int = Field(description="Bytes of memory that a job would be promised.", examples=[200000000])
    facts: dict[str, Any] = Field(
        description="The plan: stores, layers, rows, episodes, spans, bytes, memory, seconds.", examples=[{"rows": 1583, "bytes": 13600000}]
    )


class JobError(ApiModel):
    """Why a job failed."""

    message: str = Field(description="What failed.", examples=["a chunk is damaged"])
    hint: str = Field(description="The next step.", examples=["delete the store and extract it again"])
    kind: str = Field(description="As in a problem.", examples=["data"])
    exit_code: int = Field(description="What the command line would have ended with.", examples=[4])


class ProgressView(ApiModel):
    """How far a job is: units of work that are done, of how many, and the seconds that are left."""

    done: int = Field(description="Units of work that are done.", examples=[17])
    total: int = Field(description="Units of work.", examples=[34])
    unit: str = Field(description="What a unit is.", examples=["spans and fits"])
    seconds_left: float | None = Field(description="Seconds that it will still take; null where that cannot be told.", examples=[12.0])
    said: str = Field(description="The last line that it said.", examples=["best layer: blocks.5"])
    layer: str = Field(description="The layer that was finished last.", examples=["blocks.4"])
    waiting_before: int = Field(description="Jobs that will begin before it.", examples=[0])


class JobView(ApiModel):
    """A job as the API shows it: what was asked, by whom, how it stands, and what came of it."""

    id: str = Field(description="Its id; that of a probe is also that of its ranking.", examples=[RESULT])
    kind: Literal["probe", "verify"] = Field(description="What it does.", examples=["probe"])
    state: Literal["queued", "running", "done", "failed", "cancelled"] = Field(description="How it stands.", examples=["running"])
    store: str = Field(description="Id of its first store.", examples=[STORE])
    who: str = Field(description="Who asked first.", examples=["ada"])
    submitted: float = Field(description="When it was asked: seconds since 1970.", examples=[1780000000.0])
    started: float | None = Field(description="When it last began.", examples=[1780000001.0])
    ended: float | None = Field(description="When it ended.", examples=[None])
    memory: int = Field(description="Bytes of memory that it is promised.", examples=[200000000])
    question: dict[str, Any] = Field(description="Its settings.", examples=[{"store": STORE, "folds": 5}])
    progress: ProgressView = Field(description="How far it is.")
    answer: str | None = Field(description="Id of its ranking, when it is there.", examples=[None])
    error: JobError | None = Field(description="Why it failed.")


class JobList(ApiModel):
    """The newest jobs of the server, the newest first."""

    jobs: list[JobView] = Field(description="At most 200 jobs.")


class RankingBrief(ApiModel):
    """A ranking as lists show it."""

    id: str = Field(description="The beginning of its question's digest.", examples=[RESULT])
    backbone: str = Field(description="The video model of its first store.", examples=["tiny"])
    stores: list[str] = Field(description="Ids of its stores.", examples=[[STORE]])
    twin: str | None = Field(description="Id of the store without training.", examples=[None])
    dataset: str = Field(description="Digest of the dataset.", examples=[DIGEST])
    score_kind: str = Field(description="The score that orders, with its version.", examples=["S/1"])
    weights: list[float] = Field(description="Of the score's three parts.", examples=[[0.45, 0.45, 0.1]])
    layers: int = Field(description="How many candidates there are.", examples=[8])
    rows: int = Field(description="Transitions that it rests on.", examples=[1200])
    best: str = Field(description="The best layer.", examples=["blocks.5"])
    best_score: float | None = Field(description="Its score.", examples=[0.44])
    when: float = Field(description="When it was made: seconds since 1970.", examples=[1780000000.0])
    here: bool = Field(description="Whether a job of this server made it.", examples=[True])
    damage: str = Field(description="Why it cannot be read, if it cannot.", examples=[""])


class RankingList(ApiModel):
    """Rankings, newest first."""

    rankings: list[RankingBrief] = Field(description="All rankings that fit.")


class WhatIfLayer(ApiModel):
    """A layer's place and score when the parts of the score have other weights."""

    layer: str = Field(description="Its name.", examples=["blocks.5"])
    store: str = Field(description="Its store.", examples=[STORE])
    place: int = Field(description="Its place under these weights, from 1.", examples=[1])
    place_in_ranking: int = Field(description="Its place in the ranking.", examples=[2])
    score: float | None = Field(description="Its score under these weights.", examples=[0.41])
    low: float | None = Field(description="Lower end of the 95 % interval.", examples=[0.38])
    high: float | None = Field(description="Upper end of the 95 % interval.", examples=[0.44])


class WhatIfOrder(ApiModel):
    """The order of a ranking's layers under other weights; the ranking itself stays what it is."""

    weights: list[float] = Field(description="The weights, made to sum to 1.", examples=[[0.3, 0.3, 0.4]])
    layers: list[WhatIfLayer] = Field(description="The candidates in their order.")


class PairView(ApiModel):
    """How two layers compare, episode group by episode group."""

    one: str = Field(description="A layer.", examples=["blocks.5"])
    other: str = Field(description="Another layer.", examples=["blocks.4"])
    difference: float | None = Field(description="Score of the first minus score of the second.", examples=[0.03])
    low: float | None = Field(description="Lower end of the 95 % interval of the paired jackknife.", examples=[0.01])
    high: float | None = Field(description="Upper end.", examples=[0.05])


class PairList(ApiModel):
    """Every two of a ranking's first layers; empty where the evidence is not beside it."""

    pairs: list[PairView] = Field(description="Pairs, each once.")


class NoteIn(ApiModel):
    """A note on a ranking as somebody sends it."""

    text: str = Field(min_length=1, max_length=4000, description="Plain text.", examples=["agreed to train on blocks.5"])


class NoteOut(ApiModel):
    """A note on a ranking as it is kept: with its author and time."""

    who: str = Field(description="Who wrote it.", examples=["ada"])
    when: float = Field(description="When: seconds since 1970.", examples=[1780000000.0])
    text: str = Field(description="Plain text.", examples=["agreed to train on blocks.5"])


class NoteList(ApiModel):
    """Notes in the order in which they were written."""

    notes: list[NoteOut] = Field(description="All notes on the ranking.")
