"""Which layer to train on, over HTTP: rankings side by side, the board, and what decides for each dataset."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from layerscout.service.api.common import ANY_RESULT, RESPONSES, brief_ranking
from layerscout.service.data.comparing import RankingBeside, side_by_side
from layerscout.service.data.datasets import dataset_id
from layerscout.service.data.judging import BestLayer, JudgedRuns, TaskDecision
from layerscout.service.jobs.newcomers import unmeasured
from layerscout.service.judged import (
    BoardLine,
    BoardView,
    ComparedLayer,
    ComparisonView,
    DecisionBrief,
    DecisionList,
    DecisionView,
    ReasonView,
    RefusedRanking,
    ScoreBeside,
)
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import judge_of, service_of

ROUTES = APIRouter(prefix="/api/v1", tags=["decisions"], responses=RESPONSES)
RANKINGS = Query(
    min_length=2,
    max_length=16,
    description="Ids of two to eight rankings; the first one's dataset decides.",
    examples=[["6888dfad7491402b"]],
)
DatasetId = Annotated[
    str, Path(description="A dataset's digest without the name of the algorithm.", pattern=r"^[0-9a-f]{64}$", examples=["8cd4acb0" * 8])
]


@ROUTES.get("/compare", summary="Put rankings side by side")
def compare(request: Request, ids: Annotated[list[Annotated[str, Query(pattern=ANY_RESULT)]], RANKINGS]) -> ComparisonView:
    """Return every layer's score in each ranking, its place, and its difference to the first ranking."""
    compared = side_by_side(service_of(request).results, ids)
    if not compared.rankings:
        raise HttpProblem(404, "none of these rankings is here", "; ".join(reason for _, reason in compared.refused)[:300], "data")
    return ComparisonView(
        rankings=[brief_ranking(one.found) for one in compared.rankings],
        refused=[RefusedRanking(id=name, reason=reason) for name, reason in compared.refused],
        same_rows=len({one.ranking.rows for one in compared.rankings}) == 1,
        layers=[
            ComparedLayer(name=name, scores=[_beside(compared.rankings[0], one, name) for one in compared.rankings])
            for name in compared.names
        ],
    )


def _beside(first: RankingBeside, one: RankingBeside, name: str) -> ScoreBeside:
    return ScoreBeside(ranking=one.found.id, place=one.places.get(name), score=one.score(name), difference=one.above(first, name))


@ROUTES.get("/board", summary="The best layer of every model on every task")
def board(request: Request) -> BoardView:
    """Return one line for every video model on every task, ordered by the gain over the same block without training."""
    judge = judge_of(request)
    waiting = [one.id for one in unmeasured(judge.state.catalogue, judge.state.results)]
    return BoardView(lines=[_line(best, runs, judge.owner_of(best)) for best, runs in judge.board()], waiting=waiting)


def _line(best: BestLayer, runs: JudgedRuns | None, by: str) -> BoardLine:
    found = best.found
    return BoardLine(
        ranking=found.id,
        backbone=found.backbone,
        dataset=found.dataset,
        environment=best.environment,
        layer=best.title,
        over_untrained=best.over_untrained,
        over_pixels=best.over_pixels,
        score=best.score,
        score_kind=found.score_kind,
        returned=runs.returned if runs else None,
        verdict=runs.chip if runs else "not trained",
        when=found.when,
        by=by,
        flags=list(best.flags),
    )


@ROUTES.get("/decisions", summary="Which layer should each dataset's agents be trained on?")
def decisions(request: Request) -> DecisionList:
    """Return every dataset with the layer to train on, what training the video model gave there, and what agents say."""
    return DecisionList(decisions=[_brief(task) for task in judge_of(request).tasks()])


@ROUTES.get("/decisions/{dataset}", summary="Which layer should I train on, and how sure is that?")
def decision(request: Request, dataset: DatasetId) -> DecisionView:
    """Return ranking, runs and verdict of one dataset, with what speaks for the choice and what does not."""
    judge = judge_of(request)
    known = next((one for one in judge.datasets() if dataset_id(one) == dataset), None)
    if known is None:
        raise HttpProblem(404, f"no dataset {dataset[:40]} here", "/api/v1/decisions lists all", "data")
    task = judge.task(known)
    best = task.best
    return DecisionView(
        brief=_brief(task),
        how_sure=task.how_sure,
        tied=list(best.tied) if best else [],
        p_top=best.p_top if best else None,
        top_k=best.top_k if best else None,
        reasons=[ReasonView(question=question, answer=answer, shown=shown) for question, answer, shown in task.reasons],
        command=task.command,
        ranking=best.found.id if best else None,
        rankings=[one.id for one in task.rankings],
        runs=[one.found.id for one in task.runs],
        stores=[one.id for one in task.stores],
    )


def _brief(task: TaskDecision) -> DecisionBrief:
    best = task.best
    return DecisionBrief(
        id=dataset_id(task.dataset),
        dataset=task.dataset,
        environment=task.environment,
        backbone=best.found.backbone if best else None,
        layer=best.title if best else None,
        over_untrained=best.over_untrained if best else None,
        surely_first=best.surely_first if best else None,
        verdict=task.runs[0].chip if task.runs else "not trained",
    )
