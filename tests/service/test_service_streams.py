"""A job's progress as a stream: it ends with the job, and when whoever reads it leaves."""

from __future__ import annotations

import gc
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import AsyncGeneratorType
from typing import Any

import httpx2
from team import QUICK, World, live, served

from layerscout.service.app import make_app


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_browser_that_leaves_in_the_middle_of_a_stream_is_let_go(world: World, tmp_path: Path) -> None:
    """The job never ends here, so only the leaving can end the streams: their generators are closed, and no thread stays behind."""
    config = world.copied(tmp_path).config()
    app = make_app(config)
    with live(config, app) as url:
        app.state.runner.stop()  # nobody takes jobs: what is asked stays queued
        host, port = url.removeprefix("http://").split(":")
        job = httpx2.post(f"{url}/api/v1/jobs", json={"store": world.other, "groups": 6, "folds": 3}).json()["id"]
        readers = [socket.create_connection((host, int(port))) for _ in range(3)]
        for reader in readers:
            reader.sendall(f"GET /jobs/{job}/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            said = b""
            while b"data: " not in said:
                said += reader.recv(4096)
            assert b'"queued"' in said
        assert app.inner.state.streams == len(streaming()) == 3
        threads = threading.active_count()
        readers[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # this one is torn away
        for reader in readers:
            reader.close()
        until(lambda: app.inner.state.streams == 0)
        until(lambda: streaming() == [])
        until(lambda: threading.active_count() <= threads)  # a busy machine took more of them at once, and idle ones end


def streaming() -> list[Any]:
    """The generators of streams that have not ended."""
    gc.collect()
    # isinstance would ask each object for its class, and some of torch warn then
    found = [one for one in gc.get_objects() if type(one) is AsyncGeneratorType]
    return [one for one in found if one.__name__ == "_events" and one.ag_frame is not None]


def test_a_stream_tells_of_a_job_until_it_ends(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    with served(here.config()) as browser:
        job = browser.ask(store=here.other, **QUICK)
        seen: list[str] = []

        def read() -> None:
            with browser.client.stream("GET", f"/jobs/{job}/events") as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                seen.extend(answer.iter_lines())

        reader = threading.Thread(target=read)
        reader.start()
        browser.until(job, "done", "failed")
        reader.join(30)
        assert not reader.is_alive()
        last = json.loads([line for line in seen if line.startswith("data:")][-1].removeprefix("data:"))
        assert (last["state"], last["answer"]) == ("done", f"/rankings/{job}")
        assert browser.client.app.inner.state.streams == 0
