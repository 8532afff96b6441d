"""README.md in, the same text for a package index out: links and pictures that lead into the repository become whole addresses.

Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import re
from pathlib import Path

PAGES = "https://github.com/layerscout/layerscout/blob/main/"
FILES = "https://raw.githubusercontent.com/layerscout/layerscout/main/"  # a picture must be the picture, not a page about it
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def absolute_links(text: str) -> str:
    """Return Markdown with whole addresses in place of links relative to the repository; what stands in code stays."""

    def whole(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        return f"{match['picture']}[{match['text']}]({FILES if match['picture'] else PAGES}{target})"

    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("`") else LINK.sub(whole, part) for part in parts)


if __name__ == "__main__":
    from setuptools import setup

    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    setup(long_description=absolute_links(readme), long_description_content_type="text/markdown")
