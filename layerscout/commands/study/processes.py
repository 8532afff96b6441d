"""Tasks in, how each ended out: here one after the other, or so many at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from layerscout.commands.study.stages import TaskOutcome, Tell, run_task
from layerscout.commands.study.tasks import TaskSettings


def run_tasks(tasks: Sequence[TaskSettings], processes: int, tell: Tell) -> Iterator[TaskOutcome]:
    """Yield every task's outcome when it ends; with several processes the order is that of their ends.

    An interruption ends the processes too: their stages continue with the same command.
    """
    if processes == 1:
        for task in tasks:
            yield run_task(task, tell)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    waiting, running = list(tasks), dict[Connection, tuple[TaskSettings, SpawnProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(waiting[0], theirs))
                process.start()
                theirs.close()
                running[ours] = (waiting.pop(0), process)
            for one in wait(list(running)):
                assert isinstance(one, Connection)
                task, process = running[one]
                try:
                    said = one.recv()
                except EOFError:  # it ended before it could say how
                    process.join()
                    why = f"its process ended with code {process.exitcode}"
                    said = TaskOutcome(task.name, 0, "the task", why, "run the same command again; fewer processes need less memory", 1)
                    tell(f"{task.name}: {why}")
                if isinstance(said, str):
                    tell(said)
                    continue
                process.join()
                one.close()
                del running[one]
                yield said
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _work(task: TaskSettings, theirs: Connection) -> None:
    """Run one task in this process and send its lines, then its outcome."""
    with theirs:
        theirs.send(run_task(task, theirs.send))
