"""Settings in, a store of every layer's activations out: the ``extract`` command."""

from __future__ import annotations

from layerscout.commands.console import Call
from layerscout.commands.following import after_store
from layerscout.commands.words import command
from layerscout.extract.config import ExtractConfig


@command("layerscout extract tiny outputs/data.h5", dry_run=True, measure=True)
def extract(config: ExtractConfig, call: Call) -> None:
    """Run a frozen video model over a dataset, store every layer.

    The model runs once. The same command continues after a kill, and finds a store that is there already.
    """
    from layerscout.extract import run as stage

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
        "bytes": planned.bytes,
    }
    call.emit(facts | {"next": after_store(store, config.root, config.name)})
