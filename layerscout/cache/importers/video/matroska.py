"""A Matroska or WebM file in, whether its elements follow each other without a gap to its stated end out."""

from __future__ import annotations

from typing import BinaryIO

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
OF_SEGMENT = {0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0x1B538667, 0xEC, 0xBF}
OF_CLUSTER = {0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0x5854, 0xEC, 0xBF}


def missing_of_matroska(file: BinaryIO, size: int) -> str | None:
    """Say where a file ends early or holds something else, or None; a live recording states no sizes, and nothing is known of it."""
    place = 0
    while place < size:
        found = _element(file, place)
        if found is None:
            return None
        name, begin, length = found
        if name == SEGMENT:
            return None if length is None else _missing_elements(file, begin, begin + length, size, OF_SEGMENT)
        if length is None:
            return None
        place = begin + length
    return None


def _missing_elements(file: BinaryIO, place: int, stop: int, size: int, known: set[int]) -> str | None:
    """Walk over the elements of a segment, and over those of its clusters."""
    if stop > size:
        return f"its file ends at byte {size:,} of {stop:,}"
    while place < stop:
        found = _element(file, place)
        if found is None or found[0] not in known:
            return f"it holds no element of Matroska at byte {place:,}"
        name, begin, length = found
        if length is None:
            return None
        if begin + length > stop:
            return f"its element at byte {place:,} does not end where the one around it does"
        inner = _missing_elements(file, begin, begin + length, size, OF_CLUSTER) if name == CLUSTER else None
        if inner is not None:
            return inner
        place = begin + length
    return None


def _element(file: BinaryIO, place: int) -> tuple[int, int, int | None] | None:
    """Read an element's name, where its data begin, and their length (None: unknown)."""
    file.seek(place)
    head = file.read(12)
    if not head or not head[0]:
        return None
    width = 9 - head[0].bit_length()
    name = int.from_bytes(head[:width], "big")
    rest = head[width:]
    if width > 4 or not rest or not rest[0]:
        return None
    digits = 9 - rest[0].bit_length()
    if len(rest) < digits:
        return None
    value = int.from_bytes(rest[:digits], "big") & ((1 << 7 * digits) - 1)
    return name, place + width + digits, None if value == (1 << 7 * digits) - 1 else value
