"""Settings in, a pretrained model of visual dynamics out: the ``pretrain pvdr`` command."""

from __future__ import annotations

from layerscout.commands.console import Call
from layerscout.commands.following import after_model
from layerscout.commands.study import by_file
from layerscout.commands.words import Sources, command
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig


@command("layerscout pretrain pvdr outputs/data.h5 --updates 3000", dry_run=True, section="pretrain.pvdr")
def pvdr(config: PretrainPvdrConfig, call: Call, sources: Sources) -> None:
    """PVDR: learn the dynamics of videos without actions, for planning.

    Every figure is printed beside the baseline that it must beat. The same command continues after a kill. Sizes are a table: --set shape.future=8.
    """
    from layerscout.rl.transfer.pvdr import pretrain as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe())
        return
    result = stage.run(planned, call.reporter(events=config.out / "events.jsonl"))
    call.emit(result | {"next": by_file.after_model(sources, "pvdr", config.out) or after_model("pvdr", config.out, config.data)})
