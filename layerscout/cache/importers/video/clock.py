"""Packets and decoded pictures in, the time of each picture and how many are missing out."""

from __future__ import annotations

from collections import deque
from typing import Any

TIMELESS = ("avi",)  # containers that tell when a packet is decoded, not when its picture is shown
# of these a packet is a picture; others have packets without one, or pictures of two packets
ONE_EACH = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mjpeg", "png", "ffv1", "prores", "dnxhd", "huffyuv", "ffvhuff", "gif"}
JUMP = 1.0  # seconds that time may go back before it counts as a new beginning


class PictureCount:
    """How many pictures a file holds, and how many of them were decoded.

    Packets before the first key picture, or shown before it, cannot be decoded in a recording that begins in the middle; they
    are not missed.
    """

    def __init__(self, stream: Any) -> None:
        self.held = self.decoded = 0
        self.waiting: deque[int] = deque()  # when packets are decoded, for containers that know no other time
        self._name = stream.codec_context.name
        self._before_key, self._key_time = 0, None
        self._seen_key = self._fields = False

    def take(self, packet: Any) -> None:
        """Count a packet."""
        if not packet.size or packet.is_discard or (self._name == "vp8" and not bytes(packet)[0] & 0x10):  # not to be shown
            return
        self.held += 1
        if packet.dts is not None:
            self.waiting.append(packet.dts)
        if not self._seen_key and packet.is_keyframe:
            self._seen_key, self._key_time = True, packet.pts
        elif not self._seen_key or (self._key_time is not None and packet.pts is not None and packet.pts < self._key_time):
            self._before_key += 1

    def give(self, picture: Any) -> None:
        """Count a decoded picture."""
        self.decoded += 1
        self._fields |= picture.interlaced_frame

    @property
    def missing(self) -> int:
        """How many pictures were held and not decoded, of those that could be."""
        known = self._name in ONE_EACH and not self._fields  # a picture of two fields may have been two packets
        return max(0, self.held - self.decoded - self._before_key) if known else 0


class Clock:
    """When pictures are shown, in seconds: never backwards, whatever the file says."""

    def __init__(self, stream: Any, container: str, count: PictureCount) -> None:
        self._count, self._timeless = count, container in TIMELESS
        self._step = 1 / float(stream.average_rate or stream.guessed_rate or 1)
        self._base = stream.time_base
        self._last: float | None = None
        self._shown = self._step
        self._offset = 0.0

    def read(self, picture: Any) -> tuple[float, float | None]:
        """Return a picture's time and how long it is shown, as far as the file says."""
        seconds = float(picture.duration * picture.time_base) if picture.duration else None
        if self._timeless:  # pictures come in the order of showing, so the next one has the next time
            time = float(self._count.waiting.popleft() * self._base) if self._count.waiting else None
        else:
            time = None if picture.pts is None else float(picture.pts * picture.time_base) + self._offset
        if self._last is not None and (time is None or time < self._last - JUMP):
            following = self._last + self._shown
            self._offset += 0.0 if time is None else following - time
            time = following
        self._last = max(time or 0.0, self._last if self._last is not None else time or 0.0)
        self._shown = seconds or self._step
        return self._last, seconds
