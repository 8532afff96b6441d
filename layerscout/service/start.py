"""Settings in; a server that answers, and one line with its address, out."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from layerscout.errors import DataError, MissingExtraError, UsageError, install
from layerscout.service.settings import ServeConfig

WAITING = 256  # connections that wait to be taken


def serve(config: ServeConfig, say: Any = print) -> None:
    """Listen until the process is told to end.

    Raises
    ------
    UsageError
        The port is in use.
    MissingExtraError
        The extra ``serve`` is not installed.
    DataError
        A root does not exist.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("layerscout serve needs uvicorn, which is not installed", hint=install("serve")) from None
    from layerscout.service.app import make_app

    app = make_app(config)
    listening = listen(config.host, config.port)
    host, port = listening.getsockname()[:2]
    named = f"[{host}]" if ":" in host else host
    say(f"serving {', '.join(root.place for root in app.state.roots)}: http://{named}:{port}  (Ctrl-C ends it; jobs go on the next time)")
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=3, lifespan="on"
    )
    with suppress(KeyboardInterrupt):  # told to end, it ended: that is no failure
        uvicorn.Server(settings).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Raises
    ------
    UsageError
        It is in use; the message says by whom, where this system tells.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(WAITING)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            by = holder(port)
            raise UsageError(
                f"port {port} is in use{f' by {by}' if by else ''}", hint=f"layerscout serve --port {port + 1}, or --port 0 for any"
            ) from None
        if error.errno in (errno.EADDRNOTAVAIL, errno.EACCES) or isinstance(error, socket.gaierror):
            raise UsageError(
                f"cannot listen at {host}, port {port}: {error.strerror}", hint="give an address of this machine, and a port above 1023"
            ) from None
        raise
    return taken


def holder(port: int) -> str:
    """Return which process of this user holds a port, by what Linux tells; empty where that cannot be known."""
    try:
        lines = [
            line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]
        ]
        inodes = {f"socket:[{words[9]}]" for words in lines if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port}
        for process in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                for descriptor in os.listdir(f"/proc/{process}/fd"):
                    if os.readlink(f"/proc/{process}/fd/{descriptor}") in inodes:
                        return f"process {process} ({Path(f'/proc/{process}/comm').read_text(encoding='utf-8').strip()})"
    except (OSError, ValueError, IndexError):
        return ""
    return ""


def demo_places(folder: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Return the root and the results that ``layerscout demo`` left in a folder.

    Raises
    ------
    DataError
        It left none there.
    """
    root = folder / "cache"
    if not root.is_dir():
        raise DataError(f"no demo has left its stores in {folder}", hint="layerscout demo --preset quick, then the same command again")
    return (str(root),), (folder,)
