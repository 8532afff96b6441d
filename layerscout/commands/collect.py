"""Settings in, a file of episodes out: the ``collect`` command."""

from __future__ import annotations

from layerscout.commands.console import Call
from layerscout.commands.study.by_file import after_data
from layerscout.commands.words import Sources, command
from layerscout.worlds.config import CollectConfig


@command("layerscout collect layerscout/Intercept-v0 --steps 30000 --policy random:4", dry_run=True, measure=True)
def collect(config: CollectConfig, call: Call, sources: Sources) -> None:
    """Play with an exploratory policy and keep the episodes.

    Options of the environment are a table: --set options.observation=planes.
    """
    from layerscout.worlds import collect as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe(call.measure))
        return
    path = stage.run(planned, call.reporter())
    from layerscout.cache.dataset.looking import looking_command
    from layerscout.cache.dataset.trajectories import Trajectories

    with Trajectories(path) as data:
        facts = {"data": str(path), "episodes": len(data.lengths), "steps": int(data.lengths.sum()), "bytes": path.stat().st_size}
        call.emit(facts | {"next": after_data(sources, path) or looking_command(path, data.frame_shape)})
