"""Settings in, a store of every layer's activations out: the ``extract`` command."""

from __future__ import annotations

from pathlib import Path

from layerscout.commands.console import Call
from layerscout.commands.following import after_store
from layerscout.commands.study import by_file
from layerscout.commands.words import Sources, command
from layerscout.errors import UsageError, shell
from layerscout.extract.config import ExtractConfig


@command("layerscout extract tiny outputs/data.h5", dry_run=True, measure=True)
def extract(config: ExtractConfig, call: Call, sources: Sources) -> None:
    """Run a frozen video model over a dataset, store every layer.

    The model runs once. The same command continues after a kill, and finds a store that is there already.
    """
    from layerscout.extract import run as stage

    if Path(config.backbone).is_file() and not config.data.exists():
        raise UsageError(f"{config.backbone} is a file, and the backbone comes first", hint=shell("extract", config.data, config.backbone))
    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe(call.measure))
        return
    store = stage.run(planned, call.reporter())
    facts = {
        "store": store.id,
        "name": config.name,
        "path": str(store.path),
        "rows": store.rows,
        "layers": list(store.specs),
        "bytes": store.total_bytes,
    }
    following = by_file.after_store(sources, store.id, config.root) or after_store(store, config.root, config.name)
    call.emit(facts | {"next": following})
