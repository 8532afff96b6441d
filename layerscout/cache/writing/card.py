"""A store's identity, layout and provenance in; its card out: a README.md with the header that the Hugging Face hub reads.

The card says what the store holds, how it was made and three ways to read it. It repeats what identity and manifest say and decides
nothing, so it is checked like every other file and read by nobody but people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from layerscout.cache.identity import Identity
from layerscout.cache.layout import StoreLayout
from layerscout.cache.records.making import safe_command
from layerscout.showing import counted
from layerscout.text import markdown_code, markdown_text, visible

OURS = ("tiny", "tiny-2", "synthetic", "pixels")  # models whose weights come with layerscout, or are drawn
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M"))
PICTURE = "score_by_depth.png"


def store_card(store_id: str, identity: Identity, layout: StoreLayout, provenance: Mapping[str, Any]) -> str:
    """Return the text of a store's README.md."""
    backbone, played = str(identity["backbone"].get("name", "unnamed")), played_in(provenance)
    rows = [f"| {markdown_code(spec.name)} | {spec.role} | {spec.width:,} | {spec.dtype} |" for spec in layout.specs]
    first = layout.specs[0]
    command = safe_command("extract", provenance.get("command"))
    made = f"```sh\n{command}\n```" if command else "The store does not say which command made it."
    about = (
        f"Every layer's pooled output of a frozen video model, {counted(layout.rows, 'row')}: one row is one frame of the dataset with the frames before "
        "it. Nothing ever changes a store; its id is a digest of everything that its numbers were computed from."
    )
    facts = {
        "store": markdown_code(store_id),
        "backbone": markdown_text(backbone),
        "weights": markdown_code(identity["backbone"].get("weights_digest", "n/a")),
        "licence of the weights": markdown_text(licence(provenance)[1]),
        "dataset": f"{markdown_text(played)}, {markdown_code(identity['dataset'].get('digest', 'n/a'))}",
        "pooling": markdown_text(str(identity.get("pooling", "n/a"))),
        "index columns": ", ".join(markdown_code(one.name) for one in layout.columns),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    layers = "\n".join(rows)
    parts = [
        header(backbone, provenance, layout.rows, played),
        f"# Activations of {markdown_text(backbone)} on {markdown_text(played)}",
        about,
        f"| what | which |\n|---|---|\n{table}",
        f"## Layers\n\n| layer | role | width | type |\n|---|---|---:|---|\n{layers}",
        f"## How it was made\n\n{made}",
        f"## Three ways to read it\n\n{ways_to_read(first.name, first.width, first.dtype, layout)}",
    ]
    return "\n\n".join(parts) + "\n"


def header(backbone: str, provenance: Mapping[str, Any], rows: int, played: str, title: str = "Activations") -> str:
    """Return the YAML header of a card. Values are written as JSON, which is YAML too, so that no name can end a line."""
    known, _, link = licence(provenance)
    lines = {
        "license": known,
        **({"license_name": "that-of-the-weights", "license_link": link} if known == "other" else {}),
        "pretty_name": f"{title} of {backbone} on {played}",
        "task_categories": ["reinforcement-learning", "feature-extraction"],
        "size_categories": [next((words for most, words in SIZES if rows < most), "n>1T")],
        "tags": ["layerscout", "activations", "video", "representation-learning", "frozen-features"],
        "viewer": False,
    }
    return (
        "---\n"
        + "\n".join(f"{key}: {json.dumps(visible(value) if isinstance(value, str) else value)}" for key, value in lines.items())
        + "\n---"
    )


def licence(provenance: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the licence of a backbone's weights as the hub names it, in words, and where it stands."""
    name, _, source = str(provenance.get("backbone") or "").partition(":")
    if name.removesuffix("-untrained") in OURS:
        return "apache-2.0", "Apache 2.0, as layerscout itself", "https://www.apache.org/licenses/LICENSE-2.0"
    at_hub = source.count("/") == 1 and not source.startswith((".", "/", "~"))
    link = f"https://huggingface.co/{source.partition('@')[0]}" if at_hub else "https://github.com/layerscout/layerscout"
    return "other", f"see {link}" if at_hub else "not known: that of whoever made them", link


def played_in(provenance: Mapping[str, Any]) -> str:
    """Return what the dataset was recorded in, as the store tells it."""
    attributes = provenance.get("dataset_attributes")
    stated = attributes if isinstance(attributes, Mapping) else {}
    return str(stated.get("environment") or (f"an imported dataset ({stated['imported']})" if stated.get("imported") else "a dataset"))


def ways_to_read(layer: str, width: int, dtype: str, layout: StoreLayout) -> str:
    """Return three blocks of Python that read the first rows of a layer: with layerscout, with any Zarr reader, and with NumPy alone."""
    group, rows = f"layers/{layer}", min(layout.rows, layout.chunk_rows)
    ways = [
        f"```python\nimport layerscout\n\nstore = layerscout.open_store(path)  # the folder of this file, or the store's id\nprint(store[{layer!r}][0:5], store.index('reward')[0:5])\n```",
        f"```python\nimport zarr\n\nprint(zarr.open_group(path, mode='r')[{group!r}][0:5])\n```",
    ]
    if layout.codec == "none" and dtype != "bfloat16":
        plain = f"numpy.memmap(f'{{path}}/{group}/c/0/0', dtype={dtype!r}, mode='r', shape=({rows}, {width}))"
        ways.append(f"```python\nimport numpy\n\nprint({plain}[0:5])  # a chunk is plain rows, then four bytes of checksum\n```")
    else:
        ways.append(
            f"```python\nimport layerscout\n\nprint(layerscout.open_store(path)[{layer!r}][0:5].astype('float32'))  # {dtype}, {layout.codec}\n```"
        )
    return "\n\n".join(ways)
