"""Packets and decoded pictures in, the time of each picture and how many are missing out."""

from __future__ import annotations

from collections import deque
from typing import Any

TIMELESS = ("avi",)  # containers that tell when a packet is decoded, not when its picture is shown
# of these a packet is a picture; others have packets without one, or pictures of two packets
ONE_EACH = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mjpeg", "png", "ffv1", "prores", "dnxhd", "huffyuv", "ffvhuff", "gif"}
MOST_UNDECODABLE = 4  # pictures at the beginning that need some that were cut off, where times do not tell which those are
SHOWN_IN_VP8 = 0x10  # bit of a packet's first byte
JUMP = 1.0  # seconds that time may go back before it counts as a new beginning


class PictureCount:
    """How many pictures a file holds, and how many of them were decoded.

    A recording that was cut out of another begins with pictures that cannot be decoded without those before; they are not
    missed. Whatever is shown after the first decoded picture is.
    """

    def __init__(self, stream: Any, container: str = "") -> None:
        self.held = self.decoded = 0
        self.waiting: deque[int] = deque()  # when packets are decoded, for containers that know no other time
        self.timeless = container in TIMELESS
        self._name = stream.codec_context.name
        self._held: list[int] = []  # when pictures are shown, as their packets say
        self._decoded: set[int] = set()
        self._uneven = False  # a picture of two fields may have been two packets; one without time cannot be found again

    def take(self, packet: Any) -> None:
        """Count a packet that holds a picture which is shown, and keep its time; packets without a picture are passed over."""
        if not packet.size or packet.is_discard or (self._name == "vp8" and not bytes(packet)[0] & SHOWN_IN_VP8):
            return
        self.held += 1
        if self.timeless and packet.dts is not None:
            self.waiting.append(packet.dts)
        elif packet.pts is not None:
            self._held.append(packet.pts)

    def give(self, picture: Any) -> None:
        """Count a decoded picture, and keep its time and whether it is half of an interlaced one."""
        self.decoded += 1
        self._uneven |= picture.interlaced_frame or picture.pts is None
        if not self.timeless and picture.pts is not None:
            self._decoded.add(picture.pts)

    @property
    def missing(self) -> int:
        """How many pictures were held and not decoded, of those that could be."""
        if self._name not in ONE_EACH or self._uneven:
            return 0
        if self.timeless:
            lost = self.held - self.decoded
            return lost if lost > MOST_UNDECODABLE else 0
        first = min(self._decoded, default=0)
        return sum(time > first and time not in self._decoded for time in self._held)


class PictureClock:
    """When pictures are shown, in seconds: never backwards, whatever the file says."""

    def __init__(self, stream: Any, count: PictureCount) -> None:
        self._count = count
        self._step = 1 / float(stream.average_rate or stream.guessed_rate or 1)
        self._base = stream.time_base
        self._last: float | None = None
        self._shown = self._step
        self._offset = 0.0

    def read(self, picture: Any) -> tuple[float, float | None]:
        """Return a picture's time and how long it is shown, as far as the file says."""
        seconds = float(picture.duration * picture.time_base) if picture.duration else None
        if self._count.timeless:  # pictures come in the order of showing, so the next one has the next time
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
