"""A picture's file in, a figure that holds it out: a page needs no other file."""

from __future__ import annotations

import base64
from pathlib import Path

from layerscout.text import html_text

KINDS = {".png": "image/png", ".gif": "image/gif"}


def embedded(path: Path, words: str, caption: str = "") -> str:
    """Return a PNG or GIF as a figure that scrolls sideways where it is wider than the page.

    Parameters
    ----------
    words
        What it shows, for whoever does not see it.
    """
    text = base64.b64encode(path.read_bytes()).decode()
    below = f"<figcaption>{html_text(caption)}</figcaption>" if caption else ""
    image = f'<img alt="{html_text(words)}" src="data:{KINDS[path.suffix]};base64,{text}">'
    return f'<figure><div class="scroll">{image}</div>{below}</figure>'
