"""A root of small stores with results of the command line, a server over both in this process, and a browser that fills in its forms."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from committed import commit
from example_records import example_ranking, example_runs, example_selection
from fastapi.testclient import TestClient
from synthetic_layers import MemoryStore, columns_of, controllable_state

from layerscout.cache.records import save
from layerscout.cache.store import Store
from layerscout.probe.config import ProbeConfig
from layerscout.probe.run import plan, run
from layerscout.service.app import make_app
from layerscout.service.settings import ServeConfig
from layerscout.service.start import listen

BASE = "http://127.0.0.1:8347"
QUICK = {"groups": 6, "folds": 3, "shifts": 3, "penalties": (1e-3, 1e-1)}  # settings of a probe that takes a moment


@dataclass(frozen=True)
class World:
    """Folders with something in them. ``ranking`` is the id of the ranking that the command made of ``store`` with ``QUICK``."""

    root: Path
    runs: Path
    store: str
    twin: str
    other: str  # of another dataset
    ranking: str

    def config(self, **settings: Any) -> ServeConfig:
        return ServeConfig(**{"roots": (str(self.root),), "runs": (self.runs,), "memory": "2GB", **settings})

    def copied(self, place: Path) -> World:
        """The same world for a test that changes it."""
        shutil.copytree(self.root, place / "root")
        shutil.copytree(self.runs, place / "runs")
        return World(place / "root", place / "runs", self.store, self.twin, self.other, self.ranking)


def make_world(place: Path) -> World:
    root, runs = place / "root", place / "runs"
    store, twin, other = (made(root, seed, name) for seed, name in ((0, "tiny"), (0, "tiny-untrained"), (1, "tiny")))
    run(plan(ProbeConfig(store=store.id, root=root, out=runs / "probe", threads=1, **QUICK)))
    save(example_ranking(), runs / "game" / "probe" / "ranking.json")
    save(example_selection(), runs / "game" / "probe" / "selection.json")
    save(example_runs(), runs / "game" / "train" / "runs.json")
    from layerscout.service.data.results import Results

    named = next(one.id for one in Results(None, (runs,)).all().values() if one.folder == runs / "probe")
    return World(root, runs, store.id, twin.id, other.id, named)


def made(root: Path, seed: int, backbone: str) -> Store:
    """A store of three layers, of which ``blocks.1`` holds a state that the action pushes; noise in the untrained one."""
    rng = np.random.default_rng(seed)
    columns = columns_of([9] * 24, rng)
    state = controllable_state(columns, 4, rng) if "untrained" not in backbone else rng.standard_normal((len(columns["episode"]), 4))
    noise = rng.standard_normal((len(state), 5))
    columns["reward"] = np.where(columns["action"] < 0, np.nan, state[:, 0] + 0.1 * noise[:, 0]).astype(np.float32)
    arrays = {
        "blocks.0": noise[:, :3],
        "blocks.1": state + 0.05 * noise[:, :4],
        "blocks.2": noise,
        "pixels": 0.3 * state[:, :2] + noise[:, :2],
    }
    memory = MemoryStore(
        "m",
        columns,
        {name: array.astype(np.float32) for name, array in arrays.items()},
        ("pixels",),
        f"sha256:{hashlib.sha256(bytes([seed])).hexdigest()}",
    )
    return commit(root, memory, f"sha256:{backbone}", backbone=backbone)


class Browser:
    """What somebody does with the pages: reads, and sends their forms with the token that stands in them."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def page(self, path: str, status: int = 200, **options: Any) -> str:
        answer = self.client.get(path, headers={"accept": "text/html"}, **options)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:2000])
        return answer.text

    def token(self, path: str = "/probe") -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.page(path))
        assert found
        return found[1]

    def send(self, path: str, form: dict[str, Any], token: str | None = None) -> Any:
        data = {"csrf": self.token() if token is None else token, **form}
        return self.client.post(path, data=data, headers={"accept": "text/html"}, follow_redirects=False)

    def ask(self, **settings: Any) -> str:
        """Submit a question through the API, and return its id."""
        answer = self.client.post(
            "/api/v1/jobs", json={name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        )
        assert answer.status_code in (200, 202), answer.text
        return answer.json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/api/v1/jobs/{job_id}").json()

    def until(self, job_id: str, *states: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a job stands so."""
        end = time.monotonic() + seconds
        while (found := self.job(job_id))["state"] not in states:
            assert time.monotonic() < end, found
            time.sleep(0.05)
        return found


@contextmanager
def served(config: ServeConfig, base: str = BASE):
    """A server over folders, and a browser that reads it."""
    with TestClient(make_app(config), base_url=base, raise_server_exceptions=False) as client:
        yield Browser(client)


@contextmanager
def live(config: ServeConfig, app: Any = None):
    """A server that listens at a port of this machine, in a thread; its address. ``app`` is one that was made already."""
    listening = listen("127.0.0.1", 0)
    settings = uvicorn.Config(app or make_app(config), log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        end = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def rows(html: str, name: str) -> list[list[str]]:
    """The cells of a table of a page, without what stands small."""
    table = re.search(rf'id="table-{name}".*?</table>', html, re.DOTALL)
    assert table, f"no table {name}"
    body = re.search(r"<tbody>(.*)</tbody>", table[0], re.DOTALL)
    assert body
    plain = re.sub(r"<small>.*?</small>|<span class=\"said\".*?</span>", "", body[1], flags=re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)]
        for row in re.findall(r"<tr.*?</tr>", plain, re.DOTALL)
    ]
