"""Settings in, what students save by a teacher out: the ``transfer`` command."""

from __future__ import annotations

from layerscout.commands.console import Call, table
from layerscout.commands.words import command
from layerscout.errors import shell
from layerscout.rl.transfer.config import TransferConfig


@command("layerscout transfer layerscout/Intercept-v0 --set 'teacher_options={\"sideways\": 1.2}' --seeds 4", dry_run=True)
def transfer(config: TransferConfig, call: Call) -> None:
    """Train students with and without a teacher; count what it saves.

    REPAINT on clipped PPO: drawn to a teacher, on its best steps, and with both. The teacher is a file, or is trained first with other options (teacher_options) or in another environment. Students see
    the state, or one layer of a video model (--store and --layer).
    """
    from layerscout.report.transfer.tables import SUMMARY, summary_rows
    from layerscout.rl.transfer import run as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe())
        return
    record = stage.run(planned, call.reporter(events=config.out / "events.jsonl"))
    after = shell("report", config.out)
    call.emit(record.model_dump() | {"next": after}, f"{table(SUMMARY, summary_rows(record))}\nnext: {after}")
