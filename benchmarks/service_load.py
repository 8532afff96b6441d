"""How fast the service answers a team: 200 readers while a job runs, 50 who ask the same at once, and memory over 5,000 requests.

    python benchmarks/service_load.py [--quick] [--json]

A root of 1,000 stores (200 with --quick) and a ranking of 500 layers. Readers open a page every four seconds each, at times of their own, as
people do; the server is a process of its own, started as users start it. Bars: it answers 2 s after it was started, 95 of 100 pages
come within 300 ms, one of 50 equal questions runs, memory grows by at most 16 MB over 5,000 requests (1,000 with --quick).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import httpx2
import numpy as np
from store_listing import write_stores

from layerscout.cache.layout import LayerSpec
from layerscout.cache.records import Estimate, LayerScore, Ranking, save
from layerscout.cache.writing.writer import StoreWriter

READERS, THINK_SECONDS, READ_SECONDS = 200, 4.0, 10.0
START = "from layerscout.cli import main; main(['serve', '--root', {root!r}, '--runs', {runs!r}, '--port', '0', '--submissions', '1000'])"


def write_real_store(root: Path, rows: int = 4000, width: int = 256, layers: int = 12) -> str:
    """Write a store that takes a job some seconds, and return its id."""
    rng = np.random.default_rng(0)
    length = 40
    episode = np.repeat(np.arange(rows // length), length).astype(np.int32)
    step = np.tile(np.arange(length), rows // length).astype(np.int32)
    last = step == length - 1
    index = {"episode": episode, "step": step, "action": np.where(last, -1, rng.integers(0, 3, rows)).astype(np.int32)}
    index |= {"reward": np.where(last, np.nan, rng.standard_normal(rows)).astype(np.float32), "padding": np.zeros(rows, np.int16)}
    index |= {name: np.zeros(rows, bool) for name in ("terminated", "truncated")}
    specs = [LayerSpec(f"blocks.{depth}", width, "float16", "layer", depth, f"blocks.{depth}") for depth in range(layers)]
    identity = {
        "schema": "layerscout-identity/1",
        "backbone": {"name": "bench", "weights_digest": "sha256:b"},
        "recipe": {},
        "preprocessing": {"fingerprint": "sha256:1"},
        "dataset": {"digest": "sha256:" + "d" * 64},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": "mean",
        "logical_dtype": "float16",
    }
    writer = StoreWriter.open(root, identity, specs, rows, rows_per_chunk=1000)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        count = part.stop - part.start
        arrays = {spec.name: rng.standard_normal((count, width)).astype(np.float16) for spec in specs}
        writer.write_unit(unit, arrays, {name: column[part] for name, column in index.items()})
    return writer.commit({}).id


def write_ranking(folder: Path, layers: int = 500) -> str:
    """Write a ranking of many layers, and return its id."""
    rng = np.random.default_rng(1)

    def estimate(value: float) -> Estimate:
        return Estimate(value=value, low=value - 0.02, high=value + 0.02)

    scores = np.sort(rng.uniform(0.2, 0.6, layers))[::-1]
    found = [
        LayerScore(
            name=f"blocks.{depth}",
            role="layer",
            depth=depth,
            width=1024,
            store_id="ls1-" + "0" * 32,
            reward_r2=estimate(float(score) - 0.1),
            transition_r2=estimate(0.8),
            effective_rank=estimate(0.1),
            score=estimate(float(score)),
            skill_score=estimate(float(score)),
            reward_r2_shuffled=estimate(0.0),
            persistence_r2=0.7,
            transition_gain=0.1,
            behind_best=estimate(float(scores[0] - score)) if place else None,
            p_top_k=0.0,
            flags=("NO_ACTION", "UNDERSAMPLED"),
        )
        for place, (depth, score) in enumerate(zip(rng.permutation(layers).tolist(), scores, strict=True))
    ]
    ranking = Ranking(
        store_id="ls1-" + "0" * 32,
        twin_store_id=None,
        dataset_digest="sha256:" + "e" * 64,
        backbone="large",
        score_version="S/1",
        weights=(0.45, 0.45, 0.10),
        normalisation="clip",
        top_k=2,
        rows=100_000,
        episodes=1000,
        folds=5,
        layers=tuple(found),
    )
    save(ranking, folder / "ranking.json")
    return hashlib.sha256((folder / "ranking.json").read_bytes()).hexdigest()[:32]


def memory_of(process: int) -> float:
    """Return the resident megabytes of a process."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[0]) / 1024


async def read_as_people_do(url: str, paths: list[str], seconds: float) -> list[float]:
    """Have readers open pages for a while, and return how long each page took, in milliseconds."""
    took: list[float] = []
    end = time.monotonic() + seconds

    async def reader(number: int, client: Any) -> None:
        chance = random.Random(number)
        await asyncio.sleep(chance.uniform(0, THINK_SECONDS))
        while time.monotonic() < end:
            began = time.perf_counter()
            answer = await client.get(chance.choice(paths))
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200
            await asyncio.sleep(chance.uniform(0.5, 1.5) * THINK_SECONDS)

    limits = httpx2.Limits(max_connections=READERS, max_keepalive_connections=READERS)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await asyncio.gather(*(reader(number, client) for number in range(READERS)))
    return took


async def ask_at_once(url: str, question: dict[str, Any], people: int = 50) -> set[str]:
    """Have people submit the same question at once, and return the jobs that came of it."""
    async with httpx2.AsyncClient(base_url=f"{url}/api/v1", timeout=60) as client:
        answers = await asyncio.gather(*(client.post("/jobs", json=question) for _ in range(people)))
    return {answer.json()["id"] for answer in answers}


async def many(url: str, paths: list[str], count: int) -> None:
    """Send many requests, ten at a time."""
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:

        async def some(first: int) -> None:
            for number in range(first, count, 10):
                await client.get(paths[number % len(paths)])

        await asyncio.gather(*(some(first) for first in range(10)))


def main() -> None:
    chosen = harness.options(__doc__)
    stores, requests = (200, 1000) if chosen.quick else (1000, 5000)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root, runs = Path(folder, "root").absolute(), Path(folder, "runs").absolute()
        write_stores(root, stores - 1)
        store = write_real_store(root)
        ranking = write_ranking(runs / "large")
        began = time.perf_counter()
        server = subprocess.Popen([sys.executable, "-c", START.format(root=str(root), runs=str(runs))], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            httpx2.get(f"{url}/api/v1/openapi.json", timeout=60)
            started = time.perf_counter() - began
            pages = [
                "/stores",
                "/stores?sort=size:desc&page=2",
                "/stores?q=blocks",
                f"/rankings/{ranking}",
                f"/rankings/{ranking}?sort=reward-r2:asc",
                "/board",
            ]
            first = {path: _timed(url, path) for path in pages}
            jobs = asyncio.run(ask_at_once(url, {"store": store, "groups": 8, "folds": 4}))
            took = asyncio.run(read_as_people_do(url, pages, READ_SECONDS))
            state = httpx2.get(f"{url}/api/v1/jobs/{next(iter(jobs))}", timeout=60).json()
            asyncio.run(many(url, pages, requests // 10))
            before = memory_of(server.pid)
            asyncio.run(many(url, pages, requests))
            grown = memory_of(server.pid) - before
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()
    figures = {
        "stores": stores,
        "seconds_to_start": started,
        "first_look_ms": {"median": statistics.median(first.values()), "min": min(first.values()), "max": max(first.values())},
        "pages_read": len(took),
        "page_ms_median": statistics.median(took),
        "page_ms_p95": statistics.quantiles(took, n=20)[-1],
        "jobs_of_50_equal_questions": len(jobs),
        "job_attempts": 1 if state["state"] in ("running", "done", "queued") else 0,
        "server_mb": before,
        "mb_grown": grown,
    }
    bars = {"seconds_to_start": 2.0, "page_ms_p95": 300.0, "jobs_of_50_equal_questions": 1, "mb_grown": 16.0}
    harness.finish("service_load", ("fastapi", "uvicorn"), figures, chosen.json, at_most=bars)


def _timed(url: str, path: str) -> float:
    began = time.perf_counter()
    assert httpx2.get(url + path, timeout=60).status_code == 200
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
