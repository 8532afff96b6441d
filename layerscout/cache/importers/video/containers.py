"""A video file in, what its container misses of what it says it has out; nothing is decoded.

FFmpeg shows what there is of a file that a broken transfer cut short, and says nothing. Clocks do not tell either: a last
picture may be shown for long, and a recording may begin late. But most containers state their own size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from layerscout.cache.importers.video.matroska import missing_of_matroska

UNKNOWN = 2**32 - 2**16  # a size of an AVI from here on was written by somebody who did not know it
BOXES = {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"meta", b"sidx", b"styp", b"mfra", b"pnot"}
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_part(path: Path) -> str | None:
    """Say what a file misses of what its container states, or None when it is whole or its container states nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        kinds: list[tuple[bool, Callable[[BinaryIO, int], str | None]]] = [
            (head[4:8] in BOXES, _missing_boxes),
            (head[:4] == b"\x1a\x45\xdf\xa3", missing_of_matroska),
            (head[:4] == b"RIFF" and head[8:12] == b"AVI ", _missing_riff),
            (head == ASF_HEADER, _missing_asf),
            (head[:3] == b"FLV", _missing_flv_tags),
            (head[:4] == b"GIF8", _missing_gif_blocks),
        ]
        return next((look(file, size) for applies, look in kinds if applies), None)


def _ends_early(size: int, stated: int) -> str:
    return f"its file ends at byte {size:,} of {stated:,}"


def _missing_boxes(file: BinaryIO, size: int) -> str | None:
    """MP4 and QuickTime: boxes one after the other, each with its size."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if head[4:8] not in BOXES or length < 8:  # 0: to the end of the file; else what others have appended
            return None
        place += length
        if place > size:
            return _ends_early(size, place)
    return None


def _missing_riff(file: BinaryIO, size: int) -> str | None:
    """AVI: one RIFF list, or several when it is large; one that could not go back to it leaves no size."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or not 0 < length < UNKNOWN:
            return None
        place += 8 + length + length % 2
        if place > size + 1:  # the byte that fills up an odd list may be missing
            return _ends_early(size, place)
    return None


def _missing_asf(file: BinaryIO, size: int) -> str | None:
    """WMV and ASF: the file's size stands in its header, 0 while it is being broadcast."""
    file.seek(0)
    header = file.read(min(size, 2**20))
    place = header.find(ASF_PROPERTIES)
    stated = int.from_bytes(header[place + 40 : place + 48], "little") if place >= 0 else 0
    return _ends_early(size, stated) if stated > size else None


def _missing_flv_tags(file: BinaryIO, size: int) -> str | None:
    """FLV: tags of eleven bytes and their data, each followed by its size."""
    file.seek(0)
    head = file.read(9)
    place = int.from_bytes(head[5:9], "big") + 4
    while place < size:
        file.seek(place)
        tag = file.read(4)
        if len(tag) == 4 and tag[0] & 0x1F not in (8, 9, 18):
            return f"it holds no tag of FLV at byte {place:,}"
        place += 11 + int.from_bytes(tag[1:4], "big") + 4
    return _ends_early(size, place) if place > size else None


def _missing_gif_blocks(file: BinaryIO, size: int) -> str | None:
    """GIF: a header, then blocks that are chains of pieces with their lengths."""
    file.seek(0)
    data = file.read()
    place = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    while place < len(data):
        kind = data[place]
        if kind == 0x3B:
            return None
        if kind == 0x21:
            place += 2
        elif kind == 0x2C:
            packed = data[place + 9] if place + 9 < len(data) else 0
            place += 11 + (3 << ((packed & 7) + 1) if packed & 0x80 else 0)
        else:
            return f"it holds no block of GIF at byte {place:,}"
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    return _ends_early(size, place) if place > len(data) else None
