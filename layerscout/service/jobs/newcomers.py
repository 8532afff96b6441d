"""Stores that nobody asked about in; questions about them, with the default settings, out: to take part is to push a store."""

from __future__ import annotations

import sys

from layerscout.errors import LayerscoutError
from layerscout.service.data.catalogue import UNTRAINED, Catalogue, Shelved
from layerscout.service.data.results import Results
from layerscout.service.jobs.question import ProbeQuestion
from layerscout.service.jobs.queue import Queue
from layerscout.service.jobs.quotes import Quotes

WHO = "this server"


def unmeasured(catalogue: Catalogue, results: Results) -> list[Shelved]:
    """Return the stores that are here, whole, of a trained model, and in no ranking."""
    used = {store for found in results.all().values() for store in (*found.stores, found.twin)}
    return [
        one
        for one in catalogue.all()
        if one.id not in used and not one.entry.damage and one.root.folder and not (one.entry.backbone or "").endswith(UNTRAINED)
    ]


def probe_newcomers(catalogue: Catalogue, results: Results, quotes: Quotes, queue: Queue, tried: set[str]) -> int:
    """Submit a question about every store that has no ranking, each once; return how many.

    Parameters
    ----------
    tried
        Stores that were looked at already; one whose question cannot be asked is told once on stderr.
    """
    submitted = 0
    for one in unmeasured(catalogue, results):
        if one.id in tried:
            continue
        tried.add(one.id)
        try:
            question = ProbeQuestion.model_validate({"store": one.id, "twin": catalogue.twin_of(one.id) or None})
            quote = quotes.quote(question)
            if not queue.knows(quote.id):
                queue.submit(quotes.request(quote, question, WHO))
                submitted += 1
        except LayerscoutError as error:
            print(f"jobs: store {one.id} cannot be probed: {error}", file=sys.stderr, flush=True)
    return submitted
