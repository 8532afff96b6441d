"""Settings in, a pretrained action-free model out: the ``pretrain apv`` command. It hands the probe's read-out to the stage."""

from __future__ import annotations

from layerscout.commands.console import Call
from layerscout.commands.following import after_model
from layerscout.commands.study import by_file
from layerscout.commands.words import Sources, command
from layerscout.rl.transfer.apv.config import PretrainAPVConfig


@command("layerscout pretrain apv outputs/data.h5 --updates 400", dry_run=True, section="pretrain.apv")
def apv(config: PretrainAPVConfig, call: Call, sources: Sources) -> None:
    """APV: learn a model of videos without actions, for agents and probes.

    The video loss is printed beside the loss of the mean picture: what stands there has learned nothing that moves. The same command
    continues after a kill. Sizes are a table: --set model.depth=16.
    """
    from layerscout.probe.solve.read_out import read_out
    from layerscout.rl.transfer.apv import pretraining as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe())
        return
    result = stage.run(planned, call.reporter(events=config.out / "events.jsonl"), read_out)
    call.emit(result | {"next": by_file.after_model(sources, "apv", config.out) or after_model("apv", config.out, config.data)})
