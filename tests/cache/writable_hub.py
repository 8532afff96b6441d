"""A small Hugging Face hub on this machine that can be written: the part of its HTTP API that commits to a dataset repository need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 600  # bytes from which a file is kept as a large one, whose sha256 the listing states
TOKEN = "hf_secretsecret"


@dataclass
class Hub:
    """What is kept, and what was asked; ``before_commit`` is called once when a commit arrives, and ``fail_after`` so many commits all others fail."""

    url: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    before_commit: list = field(default_factory=list)
    fail_after: int = 10**9
    uploads: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return f"{len(self.commits):040x}"


@contextmanager
def serve() -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server.hub
    finally:
        from huggingface_hub import close_session

        close_session()  # its connections are to this server
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def _say(self, status: int, body: object = None, code: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_GET(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        query = parse_qs(urlsplit(self.path).query)
        name = next((name for name in hub.repositories if re.search(rf"/datasets/{name}(/|$)", path)), None)
        if name is None or not self._allowed():
            self._say(401, {}, "RepoNotFound")
            return
        files = hub.repositories[name]
        if match := re.fullmatch(rf"/datasets/{name}/resolve/main/(.+)", path):
            found = files.get(match[1])
            self._say(200, found) if found is not None else self._say(404, {}, "EntryNotFound")
        elif match := re.fullmatch(rf"/api/datasets/{name}/tree/main/?(.*)", path):
            self._tree(files, match[1], query.get("recursive") == ["true"])
        else:
            self._say(200, {"id": name, "sha": hub.head, "siblings": []})

    def _tree(self, files: dict[str, bytes], folder: str, deep: bool) -> None:
        start = f"{folder}/" if folder else ""
        below = {path: data for path, data in files.items() if path.startswith(start)}
        if not below:
            self._say(404, {}, "EntryNotFound")
            return
        told, folders = [], set()
        for path, data in below.items():
            parts = path.removeprefix(start).split("/")
            folders |= {start + "/".join(parts[:depth]) for depth in range(1, len(parts) if deep else min(2, len(parts)))}
            if deep or len(parts) == 1:
                blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
                lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                told.append({"type": "file", "path": path, "size": len(data), "oid": blob} | ({"lfs": lfs} if len(data) >= LARGE else {}))
        told += [{"type": "directory", "path": path, "oid": "0" * 40} for path in sorted(folders)]
        self._say(200, told)

    def do_PUT(self) -> None:
        self.server.hub.large[self.path.rpartition("/")[2]] = self._body()
        self.server.hub.uploads.append(self.path)
        self._say(200)

    def do_POST(self) -> None:
        hub, path, body = self.server.hub, urlsplit(self.path).path, self._body()
        if path == "/api/validate-yaml":
            self._say(200, {"errors": [], "warnings": []})
            return
        name = next((name for name in hub.repositories if f"/datasets/{name}" in path), None)
        if name is None or not self._allowed():
            self._say(401, {}, "RepoNotFound")
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = ["lfs" if one["size"] >= LARGE else "regular" for one in files]
            self._say(
                200,
                {
                    "files": [
                        {"path": one["path"], "uploadMode": mode, "shouldIgnore": False} for one, mode in zip(files, modes, strict=True)
                    ]
                },
            )
        elif path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            actions = [
                one | ({} if one["oid"] in hub.large else {"actions": {"upload": {"href": f"{hub.url}/large/{one['oid']}", "header": {}}}})
                for one in wanted
            ]
            self._say(200, {"transfer": "basic", "objects": actions})
        else:
            self._commit(hub, hub.repositories[name], [json.loads(line) for line in body.splitlines()])

    def _commit(self, hub: Hub, files: dict[str, bytes], lines: list[dict]) -> None:
        if hub.before_commit:
            hub.before_commit.pop()()
        if len(hub.commits) >= hub.fail_after:
            self._say(400, {"error": "no more"})
            return
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, hub.head):
            self._say(412, {"error": "the branch moved on"})
            return
        sent = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}
        sent |= {line["value"]["path"]: hub.large[line["value"]["oid"]] for line in lines if line["key"] == "lfsFile"}
        files |= sent
        hub.commits.append(sorted(sent))
        self._say(200, {"commitUrl": f"{hub.url}/datasets/x/y/commit/{hub.head}", "commitOid": hub.head, "pullRequestUrl": None})
