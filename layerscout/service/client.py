"""A server's address in; its answers as typed records out. What a server refuses is raised as the error that the command line would tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Ranking, Selection
from layerscout.errors import DataError, MissingExtraError, UsageError, install
from layerscout.service.judged import BoardView, ComparisonView, DecisionList, DecisionView, LookView, RunsDetails, RunsList
from layerscout.service.problems import MEDIA_TYPE, as_error
from layerscout.service.schemas import (
    Health,
    JobList,
    JobView,
    NoteList,
    NoteOut,
    PairList,
    PlanCost,
    RankingList,
    StoreDetails,
    StoreList,
    WhatIfOrder,
)

try:
    import httpx2
except ImportError:
    raise MissingExtraError("the service's client needs httpx2, which is not installed", hint=install("serve")) from None

Model = TypeVar("Model", bound=BaseModel)
LOOK_SECONDS, ENDED = 0.5, ("done", "failed", "cancelled")
OUTPUTS = (
    "ranking.json",
    "selection.json",
    "layer_analysis.csv",
    "layer_analysis.md",
    "selected_layer.txt",
    "probe.html",
    "score_by_depth.svg",
    "score_by_depth.png",
    "probe.json",
)


class Client:
    """A server that ``layerscout serve`` started, as records of the command line.

    Parameters
    ----------
    url
        Its address, as it printed it: ``http://127.0.0.1:8347``.
    token
        A user's token, where the server has users.
    timeout
        Seconds to wait for an answer; planning a large store takes some.
    transport
        How requests are sent; for tests.

    Raises
    ------
    UsageError
        The address is not one of HTTP.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8347") as team:  # doctest: +SKIP
    ...     job = team.submit({"store": "best"})
    ...     ranking = team.ranking(team.wait(job.id).id)
    ...     ranking.candidates[0].name
    'blocks.5'
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 120.0, transport: Any = None) -> None:
        if not url.startswith(("http://", "https://")) or "@" in url or "?" in url:
            raise UsageError(
                "the server's address begins with http:// or https:// and holds no name, password or query", hint="http://127.0.0.1:8347"
            )
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the HTTP connection; a ``with`` block does it by itself."""
        self._http.close()

    def health(self) -> Health:
        """Version, whether jobs are taken and why not, how many stores there are, and how many jobs run."""
        return self._get(Health, "/health")

    def stores(self, text: str = "", filters: tuple[str, ...] = (), sort: str = "created:desc", page: int = 1) -> StoreList:
        """Return a page of stores, searched, filtered and sorted as ``layerscout store ls`` does."""
        return self._get(StoreList, "/stores", params={"q": text, "filter": list(filters), "sort": sort, "page": page})

    def store(self, name: str) -> StoreDetails:
        """Layers, files and results of one store, by its id or a name that people gave it."""
        return self._get(StoreDetails, f"/stores/{_segment(name)}")

    def plan(self, question: dict[str, Any]) -> PlanCost:
        """Return what a question costs: the settings of ``layerscout probe``, with ids or names of stores."""
        return self._post(PlanCost, "/plans", question)

    def submit(self, question: dict[str, Any]) -> JobView:
        """Ask a question. The same question is one job, whoever asks."""
        return self._post(JobView, "/jobs", question)

    def jobs(self, state: str | None = None) -> JobList:
        """The newest 200 jobs, or those in this state, newest first."""
        return self._get(JobList, "/jobs", params={"state": state} if state else {})

    def job(self, job_id: str) -> JobView:
        """State of one job, what it said last, and for a running one the seconds that are left."""
        return self._get(JobView, f"/jobs/{_segment(job_id)}")

    def cancel(self, job_id: str) -> JobView:
        """Stop a job; what it measured is kept."""
        return self._post(JobView, f"/jobs/{_segment(job_id)}/cancel", None)

    def retry(self, job_id: str) -> JobView:
        """Queue a job again that failed or was cancelled."""
        return self._post(JobView, f"/jobs/{_segment(job_id)}/retry", None)

    def verify(self, store: str) -> JobView:
        """Have every file of a store read and compared with its manifest."""
        return self._post(JobView, f"/stores/{_segment(store)}/verify", None)

    def wait(self, job_id: str, tell: Callable[[JobView], None] = lambda job: None) -> JobView:
        """Follow a job until it ends.

        Parameters
        ----------
        tell
            Called with the job whenever it was looked at.

        Raises
        ------
        LayerscoutError
            The job failed: the error that the command line would have told.
        DataError
            Somebody cancelled it.
        """
        while (job := self.job(job_id)).state not in ENDED:
            tell(job)
            time.sleep(LOOK_SECONDS)
        tell(job)
        if job.error is not None:
            raise as_error({"detail": job.error.message, "hint": job.error.hint, "kind": job.error.kind})
        if job.state == "cancelled":
            raise DataError(f"job {job_id} was cancelled at {self.url}", hint="the same command submits it again")
        return job

    def rankings(self, dataset: str | None = None, store: str | None = None) -> RankingList:
        """All rankings, or only those of the dataset with this digest and of the store with this id."""
        given = {name: value for name, value in (("dataset", dataset), ("store", store)) if value}
        return self._get(RankingList, "/rankings", params=given)

    def ranking(self, ranking_id: str) -> Ranking:
        """Return a ranking as the record that the command writes."""
        return self._get(Ranking, f"/rankings/{_segment(ranking_id)}")

    def selection(self, ranking_id: str) -> Selection:
        """The ranked layers of a ranking as ``layerscout train --selection`` reads them."""
        return self._get(Selection, f"/rankings/{_segment(ranking_id)}/selection")

    def what_if(self, ranking_id: str, weights: tuple[float, float, float]) -> WhatIfOrder:
        """Return the order of a ranking's layers under other weights."""
        return self._get(WhatIfOrder, f"/rankings/{_segment(ranking_id)}/what-if", params={"w": [f"{one:g}" for one in weights]})

    def pairs(self, ranking_id: str) -> PairList:
        """Return how every two of the first layers compare."""
        return self._get(PairList, f"/rankings/{_segment(ranking_id)}/pairs")

    def notes(self, ranking_id: str) -> NoteList:
        """What people wrote about a ranking, in the order of writing."""
        return self._get(NoteList, f"/rankings/{_segment(ranking_id)}/notes")

    def add_note(self, ranking_id: str, text: str) -> NoteOut:
        """Add a note to a ranking under the name of whoever is logged in; it cannot be changed later."""
        return self._post(NoteOut, f"/rankings/{_segment(ranking_id)}/notes", {"text": text})

    def compare(self, ranking_ids: Sequence[str]) -> ComparisonView:
        """Return two to eight rankings of one dataset side by side."""
        return self._get(ComparisonView, "/compare", params={"ids": list(ranking_ids)})

    def board(self) -> BoardView:
        """Return the best layer of every video model on every task, by what training gave."""
        return self._get(BoardView, "/board")

    def decisions(self) -> DecisionList:
        """For every dataset the layer to train on, or what is missing to say so."""
        return self._get(DecisionList, "/decisions")

    def decision(self, dataset: str) -> DecisionView:
        """Return which layer to train on for a dataset, by its digest, and how sure that is."""
        return self._get(DecisionView, f"/decisions/{_segment(dataset.removeprefix('sha256:'))}")

    def all_runs(self) -> RunsList:
        """Return the comparisons of agents and the studies, each with its verdict."""
        return self._get(RunsList, "/runs")

    def runs(self, runs_id: str) -> RunsDetails:
        """Return a comparison of agents, or a study: verdicts, claims, and what each arm earned."""
        return self._get(RunsDetails, f"/runs/{_segment(runs_id)}")

    def look(self, store: str, layer: str = "", episode: int = 0, target: str = "reward", rows: bool = False) -> LookView:
        """Return one episode of a store seen through a layer; with ``rows`` also where every read row lies."""
        asked = {"layer": layer, "episode": episode, "target": target, "rows": rows}
        return self._get(LookView, f"/stores/{_segment(store)}/look", params=asked)

    def download(self, ranking_id: str, folder: Path) -> list[Path]:
        """Write every output of a ranking into a folder, byte by byte as the command wrote them there."""
        written = []
        for name in OUTPUTS:  # the file that answers for all of them comes last
            answer = self._send("GET", f"/rankings/{_segment(ranking_id)}/files/{name}")
            write_atomic(folder / name, answer.content)
            written.append(folder / name)
        return written

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield a job's progress as the server sends it, until the job ends."""
        with self._answering(), self._http.stream("GET", f"/jobs/{_segment(job_id)}/events", timeout=None) as answer:
            if answer.status_code >= 300:
                answer.read()
            _check(answer, self.url)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _get(self, model: type[Model], path: str, **options: Any) -> Model:
        return self._read(model, self._send("GET", path, **options))

    def _post(self, model: type[Model], path: str, body: Any) -> Model:
        return self._read(model, self._send("POST", path, json=body if body is not None else {}))

    def _read(self, model: type[Model], answer: Any) -> Model:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError:
            raise _stranger(self.url, answer.status_code) from None

    def _send(self, method: str, path: str, **options: Any) -> Any:
        with self._answering():
            answer = self._http.request(method, path, **options)
        _check(answer, self.url)
        return answer

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx2.HTTPError as error:
            raise DataError(
                f"the server at {self.url} does not answer: {str(error) or type(error).__name__}",
                hint="see that layerscout serve runs there",
            ) from None


def _check(answer: Any, url: str) -> None:
    """Raise what the server refused as the error that it stands for."""
    if answer.status_code < 300:
        return
    if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        with suppress(ValueError):  # cut off on its way
            if isinstance(details := answer.json(), dict):
                raise as_error(details)
    raise _stranger(url, answer.status_code)


def _stranger(url: str, status: int) -> DataError:
    return DataError(f"{url} answered {status}, and is no server of layerscout, or one of another version", hint="check the address")


def _segment(name: str) -> str:
    """Return a name that stands alone in an address."""
    if not name or any(letter in name for letter in "/?#%\\") or name in (".", ".."):
        raise UsageError(f"'{name}' is no id or name", hint="a server takes ids and names, never places")
    return name
