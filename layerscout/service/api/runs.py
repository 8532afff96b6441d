"""Comparisons of agents and studies over HTTP, with the report's own verdicts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from layerscout.cache.records import load
from layerscout.cache.records.study import StudyRecord
from layerscout.errors import LayerscoutError
from layerscout.service.api.common import ANY_RESULT, RESPONSES
from layerscout.service.data.experiments import FoundRuns
from layerscout.service.data.judging import Judge, ranking_beside
from layerscout.service.judged import (
    ArmReturn,
    ClaimView,
    ControlDifference,
    MeasureView,
    RunsBrief,
    RunsDetails,
    RunsList,
    RunsPart,
    StudyPart,
)
from layerscout.service.requests import judge_of, service_of

ROUTES = APIRouter(prefix="/api/v1", tags=["runs"], responses=RESPONSES)
RunsId = Annotated[
    str, Path(description="Id of a comparison or a study.", pattern=ANY_RESULT, examples=["6888dfad7491402bdc0454a36a6cb67b"])
]


@ROUTES.get("/runs", summary="List comparisons of agents and studies")
def runs(request: Request) -> RunsList:
    """List everything that was trained under the served folders, newest first, each with its verdict."""
    judge = judge_of(request)
    return RunsList(runs=[_brief(judge, one) for one in service_of(request).experiments.all().values()])


@ROUTES.get("/runs/{runs_id}", summary="Show a comparison or a study")
def one_run(request: Request, runs_id: RunsId) -> RunsDetails:
    """Tell what each arm earned, the verdict, and what may be claimed; of a study, how far every measure foretells the return."""
    state, judge = service_of(request), judge_of(request)
    found = state.experiments.find(runs_id)
    brief = _brief(judge, found)
    if found.kind == "study":
        study = [] if found.damage else load(StudyRecord, found.path, warn=False).analyses
        return RunsDetails(brief=brief, problem=found.damage, ranking=None, parts=[], study=[_analysis(one) for one in study])
    try:
        chapters, problem = state.experiments.chapters(found), ""
    except LayerscoutError as error:
        chapters, problem = [], f"{state.tidy(str(error))}. {error.hint}"
    beside = ranking_beside(state.results, found)
    return RunsDetails(
        brief=brief, problem=problem, ranking=beside.id if beside else None, parts=[_part(one) for one in chapters], study=[]
    )


def _brief(judge: Judge, found: FoundRuns) -> RunsBrief:
    judged = judge.runs_of(found) if found.kind == "comparison" else None
    fields = {name: getattr(found, name) for name in RunsBrief.model_fields if hasattr(found, name)}
    return RunsBrief(**fields | {"verdict": judged.chip if judged else None})


def _part(part: Any) -> RunsPart:
    from layerscout.report.numbers.summaries import arm_summaries

    verdict, gate = part.verdict, part.gate
    arms = [
        ArmReturn(
            arm=one.arm.name,
            kind=one.arm.kind,
            seeds=one.seeds,
            failed=one.failed,
            mean=one.last,
            interquartile_mean=one.iqm,
            evaluation=one.evaluation,
        )
        for one in arm_summaries(part.record)
    ]
    controls = [ControlDifference(**{name: getattr(one, name) for name in ControlDifference.model_fields}) for one in verdict.comparisons]
    claims = [ClaimView(statement=one.statement, outcome=one.word, sentence=one.sentence) for one in part.claims]
    return RunsPart(
        title=part.title,
        outcome=verdict.outcome,
        sentence=verdict.sentence,
        learned=gate.learned,
        learned_why=gate.why,
        best=verdict.best,
        arms=arms,
        controls=controls,
        claims=claims,
    )


def _analysis(one: Any) -> StudyPart:
    measures = [MeasureView(**{name: getattr(measure, name) for name in MeasureView.model_fields}) for measure in one.measures]
    return StudyPart(
        title=f"{one.mode}, {one.head}, by {one.metric}",
        outcome=one.outcome,
        sentence=one.sentence,
        notes=list(one.notes),
        measures=measures,
    )
