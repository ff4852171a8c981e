"""Which of the input's other tracks the output's container can hold, and how they get there."""

from __future__ import annotations

import os

import av
from _ffmpeg import MUXERS, Tracks
from _job import BadInput
from _media import Media, Track

TEXT_SUBTITLES = ("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text")
TEXT_CODEC = {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip"}

# Its table of codecs lists them, but the muxer takes them in MP4 only.
REFUSED = {"mov": {"opus", "flac"}}


def choose(media: Media, container: str) -> Tracks:
    """Choose the tracks that go into `container` (mp4, mov or mkv); notes name what is left out.

    Raises BadInput for a sound track that the container cannot hold: sound is never left out.
    """
    able = _supported(container)
    kept: list[int] = []
    options: dict[str, str] = {}
    notes: list[str] = []
    counts = {"audio": 0, "subtitle": 0, "cover": 1, "attachment": 0}
    for track in media.tracks:
        codec = _codec(track, container, able)
        if codec:
            kept.append(track.index)
            options |= _options(track.kind, counts[track.kind], codec)
            counts[track.kind] += 1
        else:
            notes.append(_left_out(track, container))
    return Tracks(container, tuple(kept), options, tuple(notes))


def _codec(track: Track, container: str, able: frozenset[str]) -> str:
    """How the track is written: `copy`, a subtitle codec to convert to, or empty to leave it out."""
    if track.kind == "audio":
        _check_sound(track, container, able)
        return "copy"
    if track.kind == "subtitle":
        return _subtitle_codec(track, container, able)
    if track.kind == "attachment":
        return "copy" if container == "mkv" else ""
    # Matroska keeps cover art as an attachment; ffmpeg would write it as a second video.
    return "copy" if track.kind == "cover" and container != "mkv" and track.codec in able else ""


def _check_sound(track: Track, container: str, able: frozenset[str]) -> None:
    # Matroska takes any sound: what it has no name for goes under its AVI tag.
    if container != "mkv" and track.codec not in able and track.codec != "unknown":
        raise BadInput(f"a .{container} file cannot hold the input's {track.codec} sound; use -o with a name in .mkv")


def _subtitle_codec(track: Track, container: str, able: frozenset[str]) -> str:
    if track.codec in TEXT_SUBTITLES:
        copied = track.codec in able and track.codec != "text"
        return "copy" if copied else TEXT_CODEC[container]
    return "copy" if container == "mkv" and track.codec in able else ""


def _options(kind: str, number: int, codec: str) -> dict[str, str]:
    if kind == "cover":
        return {f"c:v:{number}": codec, f"disposition:v:{number}": "attached_pic"}
    letter = {"audio": "a", "subtitle": "s", "attachment": "t"}[kind]
    return {f"c:{letter}:{number}": codec}


def _supported(container: str) -> frozenset[str]:
    with av.open(os.devnull, "w", format=MUXERS[container]) as muxer:
        return frozenset(muxer.supported_codecs) - REFUSED.get(container, set())


def _left_out(track: Track, container: str) -> str:
    what = " ".join(word for word in (track.kind, "track", str(track.index), f"({track.codec})", track.title) if word)
    return f"left out: {what}, which a .{container} file made here does not hold"
