"""A small Hugging Face hub on this machine: the part of its HTTP API that listing, reading and downloading a model need."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = 2_000  # bytes from which a file is kept as a large one, whose sha256 the listing states


@dataclass
class Repository:
    """A folder as a repository: its commits by revision, and where their files lie."""

    commits: dict[str, Path]
    large: int = LARGE
    gated: bool | str = False  # "files": it is listed to everybody, and gives its files to nobody

    def commit(self, revision: str) -> str | None:
        if revision in self.commits:
            return commit_of(self.commits[revision])
        return revision if revision in {commit_of(folder) for folder in self.commits.values()} else None

    def folder(self, commit: str) -> Path:
        return next(folder for folder in self.commits.values() if commit_of(folder) == commit)


@dataclass
class Hub:
    """What is served, what was asked for, and how the next downloads are to fail: ``cut`` closes after so many bytes of weights."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    cut: list[int] = field(default_factory=list)
    out_of_order: bool = False

    def add(self, name: str, folder: Path, **more) -> Repository:
        self.repositories[name] = Repository({"main": folder}, **more)
        return self.repositories[name]

    def bodies(self) -> list[str]:
        """Paths of the files that were asked for with their content."""
        return [path for method, path in self.asked if method == "GET" and "/resolve/" in path]


def commit_of(folder: Path) -> str:
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha1(b"".join(path.name.encode() + path.read_bytes() for path in names)).hexdigest()


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

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path))
        if hub.out_of_order:
            self._refuse(503, "")
            return
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            name, what, revision = match[1], match[2], match[3] or "main"
            repository, commit = self._found(name, revision.removesuffix("/"))
            if commit is None:
                return
            files = [path for path in sorted(repository.folder(commit).rglob("*")) if path.is_file()]
            listed = [self._entry(file, repository.folder(commit), repository.large) for file in files]
            if what == "tree":
                self._json([{"type": "file", "path": one["rfilename"], "oid": one["blobId"], **one} for one in listed])
            else:
                self._json({"id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "siblings": listed})
            return
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository, commit = self._found(match[1], match[2]) if match else (None, None)
        if commit is None:
            return
        self._file(repository, commit, repository.folder(commit) / match[3], body)

    def _found(self, name: str, revision: str) -> tuple[Repository | None, str | None]:
        repository = self.server.hub.repositories.get(name)
        commit = repository.commit(revision) if repository else None
        if repository is not None and (repository.gated is True or (repository.gated and "/resolve/" in self.path)):
            self._refuse(403, "GatedRepo")
            return repository, None
        if commit is None:
            self._refuse(404, "RevisionNotFound" if repository else "RepoNotFound")
        return repository, commit

    def _entry(self, file: Path, folder: Path, large: int) -> dict:
        content = file.read_bytes()
        entry = {"rfilename": file.relative_to(folder).as_posix(), "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
        if len(content) >= large:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": digest, "oid": digest, "size": len(content), "pointerSize": 134}
        return entry

    def _file(self, repository: Repository, commit: str, file: Path, body: bool) -> None:
        if not file.is_file():
            self._refuse(404, "EntryNotFound")
            return
        content = file.read_bytes()
        digest = (hashlib.sha256 if len(content) >= repository.large else hashlib.sha1)(content).hexdigest()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        stop = min(int(wanted[2]) + 1, len(content)) if wanted and wanted[2] else len(content)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.end_headers()
        if not body:
            return
        part = content[start:stop]
        if self.server.hub.cut and len(part) > self.server.hub.cut[0] and file.suffix == ".safetensors":
            part = part[: self.server.hub.cut.pop(0)]
            self.close_connection = True
        self.server.hub.sent += len(part)
        self.wfile.write(part)

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, code: int, word: str) -> None:
        data = json.dumps({"error": word}).encode()
        self.send_response(code)
        self.send_header("X-Error-Code", word)
        self.send_header("X-Error-Message", word)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments) -> None:
        """Say nothing."""
