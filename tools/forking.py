"""Programs that start at once, for what runs many commands: one process has imported everything, and forks for each of them.

Two programs are made: ``layerscout``, and ``page``, which runs a Python file with every warning an error. Each run still is a process of its own,
with its words, folder, environment, input and output, and runs the entry point. What is spared is importing torch and scikit-learn
fifty times. Continuous integration also runs the real command, from the wheel.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import layerscout

PROGRAMS = ("layerscout", "page")

SHIM = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.connect({address!r})
said = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(said).to_bytes(8, "big")], [0, 1, 2])
server.sendall(said)
sys.exit(int(server.recv(8) or b"70"))
"""


@contextmanager
def programs() -> Iterator[Path]:
    """Yield a folder for PATH that holds the programs; the process that they fork from ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        environment = os.environ | {
            "PYTHONPATH": str(Path(layerscout.__file__).parents[1]),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with subprocess.Popen([sys.executable, __file__, address], env=environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            if server.stdout.readline() != "ready\n":
                raise RuntimeError("the process that commands fork from did not start")
            try:
                yield write_shims(Path(folder) / "bin", address)
            finally:
                server.terminate()


def write_shims(folder: Path, address: str) -> Path:
    """Write the programs into a folder for PATH, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        (folder / name).write_text(SHIM.format(python=sys.executable, address=address))
        (folder / name).chmod(0o755)
    return folder


def serve(address: str) -> None:
    """Fork a child for every command that comes, until it is ended."""
    import layerscout.probe.run
    import layerscout.report.plan
    import layerscout.rl.run  # noqa: F401

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(8)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _child(connection)
        connection.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _child(connection: socket.socket) -> None:
    """Become the command: run it in a grandchild, and tell how it ended."""
    length, handles, _, _ = socket.recv_fds(connection, 8, 3)
    size, said = int.from_bytes(length, "big"), b""
    while len(said) < size:
        said += connection.recv(size - len(said))
    words, folder, environment = json.loads(said)
    child = os.fork()
    if child == 0:
        connection.close()
        for number, handle in enumerate(handles):
            os.dup2(handle, number)
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode, encoding="utf-8", closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None  # where the command's own environment says
        code = 1
        try:
            _program(Path(words[0]).name, words[1:])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def _program(name: str, words: list[str]) -> None:
    if name == "page":
        sys.argv = words
        warnings.simplefilter("error")
        runpy.run_path(words[0], run_name="__main__")
    else:
        sys.argv = [name, *words]
        from layerscout.cli import main

        main()


if __name__ == "__main__":
    serve(sys.argv[1])
