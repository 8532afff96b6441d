"""Pictures are counted and timed by what their packets say, and a Matroska file ends where it says: by hand, without a decoder."""

from __future__ import annotations

import io
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from layerscout.cache.importers.video.clock import MOST_UNDECODABLE, PictureClock, PictureCount
from layerscout.cache.importers.video.matroska import missing_of_matroska

TICK = Fraction(1, 100)


class Packet:
    """What is asked of a packet; its bytes are its first one."""

    def __init__(self, pts: int | None, dts: int | None = None, size: int = 1, discard: bool = False, first: int = 0x10) -> None:
        self.pts, self.dts, self.size, self.is_discard, self._first = pts, dts, size, discard, first

    def __bytes__(self) -> bytes:
        return bytes([self._first])


def picture(pts: int | None, duration: int = 0, interlaced: bool = False) -> Any:
    return SimpleNamespace(pts=pts, duration=duration, time_base=TICK, interlaced_frame=interlaced)


def stream(codec: str = "h264", rate: int | None = 10) -> Any:
    codec_context = SimpleNamespace(name=codec)
    return SimpleNamespace(codec_context=codec_context, average_rate=rate, guessed_rate=None, time_base=TICK)


def counted(held: list[int | None], decoded: list[int | None], codec: str = "h264", container: str = "mp4", **kind: Any) -> PictureCount:
    count = PictureCount(stream(codec), container)
    for place, time in enumerate(held):
        count.take(Packet(time, dts=place))
    for time in decoded:
        count.give(picture(time, **kind))
    return count


def test_a_picture_that_is_held_and_never_shown_is_missing():
    assert counted([0, 10, 20, 30], [0, 10, 20, 30]).missing == 0
    assert counted([0, 10, 20, 30], [0, 20]).missing == 2
    assert counted([30, 0, 20, 10], [0, 10, 20, 30]).missing == 0, "packets come in the order of decoding"


def test_pictures_before_the_first_that_could_be_decoded_are_not_missed():
    assert counted([0, 10, 20, 30], [20, 30]).missing == 0
    assert counted([0, 10, 20, 30], [20]).missing == 1


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg4", "wmv2"])
def test_where_a_packet_is_no_picture_nothing_is_missed(codec):
    assert counted([0, 10, 20], [0], codec).missing == 0


def test_halves_of_a_picture_and_pictures_without_time_cannot_be_found_again():
    assert counted([0, 10, 20], [0], interlaced=True).missing == 0
    assert counted([0, 10, 20], [0, None]).missing == 0


def test_a_container_without_times_misses_more_than_those_that_were_cut_off():
    for lost, missing in ((MOST_UNDECODABLE, 0), (MOST_UNDECODABLE + 1, MOST_UNDECODABLE + 1)):
        assert counted([None] * 9, [None] * 0 + list(range(9 - lost)), container="avi").missing == missing


def test_packets_without_a_picture_that_is_shown_are_not_held():
    count = PictureCount(stream("vp8"))
    for packet in (
        Packet(0),
        Packet(1, size=0),
        Packet(2, discard=True),
        Packet(3, first=0x00),
        Packet(4, first=0xEF),
        Packet(5, first=0xFF),
    ):
        count.take(packet)
    assert count.held == 2
    other = PictureCount(stream("vp9"))
    other.take(Packet(3, first=0x00))  # the bit is one of VP8
    assert other.held == 1


def times(pictures: list[Any], container: str = "mp4", dts: tuple[int, ...] = (), rate: int | None = 10) -> list[float]:
    shown = stream(rate=rate)
    count = PictureCount(shown, container)
    for time in dts:
        count.take(Packet(None, dts=time))
    clock = PictureClock(shown, count)
    return [clock.read(one)[0] for one in pictures]


def test_a_picture_is_shown_when_its_time_says():
    assert times([picture(time) for time in (0, 10, 25, 70)]) == pytest.approx([0, 0.1, 0.25, 0.7])
    assert times([picture(500), picture(510)]) == pytest.approx([5.0, 5.1])


def test_a_picture_without_time_comes_after_the_one_before_as_long_as_that_is_shown():
    assert times([picture(0), picture(None), picture(None)]) == pytest.approx([0, 0.1, 0.2])
    assert times([picture(0, duration=30), picture(None), picture(None)]) == pytest.approx([0, 0.3, 0.4])
    assert times([picture(None), picture(None)]) == pytest.approx([0, 0.1])
    assert times([picture(0), picture(None), picture(20)]) == pytest.approx([0, 0.1, 0.2]), "and moves no later one"
    assert times([picture(0), picture(None)], rate=None) == pytest.approx([0, 1.0]), "without any rate, a second each"


def test_time_never_goes_back_and_a_new_beginning_goes_on_where_the_last_one_ended():
    assert times([picture(time) for time in (0, 50, 20, 60)]) == pytest.approx([0, 0.5, 0.5, 0.6])
    restarted = [picture(time) for time in (300, 310, 0, 10, 20)]
    assert times(restarted) == pytest.approx([3.0, 3.1, 3.2, 3.3, 3.4])
    later = [picture(time) for time in (300, 310, 50, 60)]
    assert times(later) == pytest.approx([3.0, 3.1, 3.2, 3.3]), "wherever the new beginning counts from"
    twice = [picture(time) for time in (200, 0, 150, 0)]
    assert times(twice) == pytest.approx([2.0, 2.1, 3.6, 3.7])
    assert times([picture(150), picture(50)]) == pytest.approx([1.5, 1.5]), "a second back is still the same beginning"


def test_a_container_that_knows_only_decoding_gives_its_times_in_turn():
    assert times([picture(900), picture(0), picture(5)], "avi", (0, 30, 40)) == pytest.approx([0, 0.3, 0.4])
    assert times([picture(0)] * 3, "avi", (0, 30)) == pytest.approx([0, 0.3, 0.4]), "one more picture than packets follows the last"


def test_how_long_a_picture_is_shown_is_told_only_where_the_file_says():
    shown = stream()
    clock = PictureClock(shown, PictureCount(shown))
    assert [clock.read(picture(0, duration=30))[1], clock.read(picture(30))[1]] == [pytest.approx(0.3), None]


# Matroska

SEGMENT, CLUSTER, INFO, TIMECODE, BLOCK, VOID = "18538067", "1f43b675", "1549a966", "e7", "a3", "ec"
UNKNOWN_SIZE = bytes.fromhex("01ffffffffffffff")


def element(name: str, data: bytes, size: bytes | None = None) -> bytes:
    return bytes.fromhex(name) + (bytes([0x80 | len(data)]) if size is None else size) + data


def file_of(*parts: bytes, size: bytes | None = None) -> bytes:
    return element("1a45dfa3", b"head") + element(SEGMENT, b"".join(parts), size)


def told(content: bytes) -> str | None:
    return missing_of_matroska(io.BytesIO(content), len(content))


WHOLE = (element(INFO, b"info"), element(CLUSTER, element(TIMECODE, b"\1") + element(BLOCK, b"pixels")), element(VOID, b""))


def test_a_whole_file_misses_nothing_and_one_that_ends_early_says_where():
    content = file_of(*WHOLE)
    assert told(content) is None
    segment = content.index(bytes.fromhex(SEGMENT)) + 5
    for length in range(segment, len(content)):
        assert told(content[:length]) == f"its file ends at byte {length:,} of {len(content):,}"


def test_an_element_that_is_none_is_told_by_its_place_in_the_segment_and_in_a_cluster():
    strange = file_of(WHOLE[0], element("ff", b"?"))
    assert told(strange) == f"it holds no element of Matroska at byte {strange.index(bytes([0xFF])):,}"
    inside = file_of(element(CLUSTER, element(TIMECODE, b"\1") + element("bb", b"?")))
    assert told(inside) == f"it holds no element of Matroska at byte {inside.index(bytes([0xBB])):,}"
    assert told(file_of(element(TIMECODE, b"\1"))) is not None, "a time code stands in a cluster only"
    hole = file_of(element(INFO, b"ab") + b"\0\0\0")
    assert told(hole) == f"it holds no element of Matroska at byte {len(hole) - 3:,}"


IN_SEGMENT = {
    "114d9b74": "SeekHead",
    "1549a966": "Info",
    "1654ae6b": "Tracks",
    "1c53bb6b": "Cues",
    "1254c367": "Tags",
    "1043a770": "Chapters",
    "1941a469": "Attachments",
    "ec": "Void",
    "bf": "CRC-32",
}
IN_CLUSTER = {
    "e7": "Timestamp",
    "a7": "Position",
    "ab": "PrevSize",
    "a3": "SimpleBlock",
    "a0": "BlockGroup",
    "af": "EncryptedBlock",
    "5854": "SilentTracks",
    "ec": "Void",
    "bf": "CRC-32",
}


@pytest.mark.parametrize("name", IN_SEGMENT)
def test_every_element_of_a_segment_is_known(name):
    assert told(file_of(element(name, b"data"), WHOLE[0])) is None


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_every_element_of_a_cluster_is_known(name):
    assert told(file_of(element(CLUSTER, element(name, b"data") + element(TIMECODE, b"\1")))) is None


def test_an_element_that_ends_behind_the_one_around_it_is_told():
    long = file_of(element(INFO, b"ab", bytes([0x80 | 9])))
    assert told(long) == f"its element at byte {long.index(bytes.fromhex(INFO)):,} does not end where the one around it does"
    inner = file_of(element(CLUSTER, element(BLOCK, b"ab", bytes([0x80 | 3]))), element(VOID, b"some"))
    assert "does not end where the one around it does" in (told(inner) or "")


@pytest.mark.parametrize("digits", range(1, 9))
def test_a_length_may_be_written_in_one_to_eight_digits(digits):
    size = (1 << 7 * digits | 4).to_bytes(digits, "big")
    assert told(file_of(element(INFO, b"info", size))) is None
    assert told(file_of(element(INFO, b"inf", size))) is not None


def test_of_a_live_recording_nothing_is_known():
    live = file_of(element(CLUSTER, b"whatever", UNKNOWN_SIZE), size=UNKNOWN_SIZE)
    assert told(live) is None
    assert told(live[:-3]) is None
    assert told(file_of(element(CLUSTER, b"", UNKNOWN_SIZE))) is None
    assert told(b"") is None
    assert told(b"\0" * 40) is None
    assert told(element("1a45dfa3", b"head")) is None
