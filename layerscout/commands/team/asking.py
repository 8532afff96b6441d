"""A question and a server's address in; what the command itself would have printed and written, out."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerscout.commands.console import Call
from layerscout.errors import UsageError, shell
from layerscout.probe.config import RUN_ONLY, ProbeConfig
from layerscout.progress import Reporter

if TYPE_CHECKING:
    from layerscout.cache.records import Ranking

TOKEN = "LAYERSCOUT_TOKEN"
LOCAL = ("root", "threads", "partials", "scheduler", "shard")  # settings that say how this machine works


@dataclass(frozen=True)
class RankedThere:
    """A ranking that a server made, and the environment that its store's dataset was played in, if the store tells."""

    ranking: Ranking
    environment: str | None


def ask_server(config: ProbeConfig, call: Call, server: str) -> RankedThere | None:
    """Have a server rank layers, and write its outputs where the command would have written its own; of a dry run, print the plan.

    Raises
    ------
    UsageError
        A setting says how this machine is to work, or a store is named by its place.
    LayerscoutError
        What the server tells: with the message, hint and exit code of the command itself.
    """
    from layerscout.service.client import Client

    usual = {name: field.get_default(call_default_factory=True) for name, field in ProbeConfig.model_fields.items()}
    if own := [name for name in LOCAL if getattr(config, name) != usual[name]]:
        raise UsageError(
            f"probe.{own[0]} says how this machine works, and --server has another one do the work", hint="leave one of them out"
        )
    for word in (config.store, *config.others, *([config.twin] if config.twin else [])):
        if "/" in word or "\\" in word:
            raise UsageError(
                f"'{word}' is a place, and a server knows stores by id and name", hint=shell("probe", "ID", "--server", server)
            )
    question = config.model_dump(mode="json", exclude=set(RUN_ONLY)) | {
        "store": config.store,
        "others": list(config.others),
        "twin": config.twin,
    }
    with Client(server, os.environ.get(TOKEN)) as team:
        if call.dry_run:
            planned = team.plan(question)
            facts = {name: value for name, value in planned.facts.items() if name != "seconds" or call.measure}
            call.emit(facts | {"out": str(config.out), "exists": f"{server}/rankings/{planned.answer}" if planned.answer else None})
            return None
        job = team.submit(question)
        _follow(team, job, call.reporter())
        ranking = team.ranking(job.id)
        team.download(job.id, config.out)
        attributes = team.store(ranking.store_id).provenance.get("dataset_attributes")
    environment = attributes.get("environment") if isinstance(attributes, dict) else None
    return RankedThere(ranking, environment if isinstance(environment, str) and environment else None)


def _follow(team: Any, job: Any, reporter: Reporter) -> None:
    """Show a job's progress as the command shows its own."""
    with ExitStack() as stack:
        shown: Any = None

        def tell(now: Any) -> None:
            nonlocal shown
            if shown is None and now.state == "running" and now.progress.total:
                shown = stack.enter_context(reporter.task("probe", now.progress.total, now.progress.unit))
                shown.resume(now.progress.done)
            elif shown is not None:
                shown.advance(max(0, now.progress.done - shown.done), **({"layer": now.progress.layer} if now.progress.layer else {}))

        team.wait(job.id, tell)
