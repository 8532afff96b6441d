"""A ranking and its store's provenance in; the ranking's card out: a README.md with the header that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerscout.cache.records import LayerScore, Ranking, as_table_value
from layerscout.cache.writing.card import PICTURE, header, played_in
from layerscout.text import markdown_cell, markdown_code, markdown_text

READ = """```python
import json, pathlib

text = pathlib.Path(path, "ranking.json").read_text()  # path: the folder of this file
layers = json.loads(text)["layers"]  # everything that was measured, best layer first
print([layer["name"] for layer in layers if layer["role"] == "layer"])
```

```python
import pandas

print(pandas.read_csv(f"{path}/layer_analysis.csv"))
```

```python
from pathlib import Path
from layerscout.cache.records import Ranking, load

print(load(Ranking, Path(path, "ranking.json")).summary())
```"""


def ranking_card(ranking: Ranking, provenance: Mapping[str, Any], command: str | None = None, picture: bool = True) -> str:
    """Return the text of a ranking's README.md.

    Parameters
    ----------
    ranking
        What it shows.
    provenance
        Of the ranked store: what was played, and whose weights they were.
    command
        What made the ranking.
    picture
        Whether the figure of scores by depth lies beside it.
    """
    played = played_in(provenance)
    names = ", ".join(dict.fromkeys(store.backbone for store in ranking.stores)) or ranking.backbone
    first = ranking.candidates[0] if ranking.candidates else None
    best = (
        f"Best layer: **{markdown_text(first.name)}**, {ranking.score_kind} {as_table_value(first.ordered_by(ranking.score_kind))}."
        if first
        else ""
    )
    about = (
        f"{best} {ranking.rows:,} transitions of {ranking.episodes:,} episodes, {ranking.folds} folds split by episode. A layer is worth what it "
        "gives above the same block without training and above the controls; an interval that holds 0 behind the best means that the two cannot "
        "be told apart."
    )
    stores = [store.store_id for store in ranking.stores] or [ranking.store_id]
    facts = {
        "stores": ", ".join(map(markdown_code, stores)),
        "untrained twin": markdown_code(ranking.twin_store_id) if ranking.twin_store_id else "none",
        "dataset": f"{markdown_text(played)}, {markdown_code(ranking.dataset_digest)}",
        "score": markdown_text(f"{ranking.score_kind}, weights {', '.join(f'{weight:g}' for weight in ranking.weights)}"),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    rows = "\n".join(_row(ranking, layer, place) for place, layer in enumerate(ranking.layers, 1))
    notes = "\n".join(f"- {markdown_text(note)}" for note in ranking.notes)
    parts = [
        header(names, provenance, ranking.rows, played, "Ranking of the layers"),
        f"# Which layer of {markdown_text(names)} to train on: {markdown_text(played)}",
        f"![Score of every layer by depth, with intervals, untrained blocks and controls]({PICTURE})" if picture else "",
        about,
        f"| # | layer | score | behind the best | reward R² | transition R² | doubts |\n|---|---|---:|---:|---:|---:|---|\n{rows}",
        notes,
        f"| what | which |\n|---|---|\n{table}",
        f"## How it was made\n\n```sh\n{command}\n```" if command else "",
        f"## Three ways to read it\n\n{READ}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(ranking: Ranking, layer: LayerScore, place: int) -> str:
    role = {"layer": str(place), "control": "control", "twin": "untrained"}[layer.role]
    figures = map(as_table_value, (layer.ordered_by(ranking.score_kind), layer.behind_best, layer.reward_r2, layer.transition_r2))
    return f"| {role} | {markdown_cell(layer.name)} | {' | '.join(figures)} | {markdown_cell(', '.join(layer.flags) or '–')} |"
