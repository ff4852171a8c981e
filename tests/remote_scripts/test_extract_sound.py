"""The sound of whatever holds it: every word at its time, the same bytes each time, and damage is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.media import clip, ffmpeg, rot, truncate

from .heard import RATE, sound
from .runs import Run
from .scripted import SCRIPTS, start

LOUD = 3000  # of 32768


def extract(folder: Path, *inputs: Path, **how: Any) -> Run:
    return start("extract_sound.py", folder, *inputs, params={}, **how)


def samples(run: Run, index: int = 0) -> np.ndarray:
    """What was made of an input. It is 16 kHz mono FLAC."""
    with av.open(str(run.output(index))) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.layout.name) == ("flac", RATE, "mono")
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])


def loud(heard: np.ndarray) -> tuple[float, float]:
    """When it is first and last loud, in seconds."""
    found = np.flatnonzero(np.abs(heard) > LOUD)
    return found[0] / RATE, found[-1] / RATE


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of silence, two of voice and one of silence."""
    return sound(tmp_path_factory.mktemp("talk") / "talk.wav", (1, 0), (2, 0.8), (1, 0))


@pytest.fixture(scope="module")
def formats(talk: Path) -> list[Path]:
    """The same sound as everything that holds it."""
    suffixes = ("mp3", "m4a", "aac", "ogg", "opus", "flac", "aiff", "mka", "webm", "caf")
    made = [talk.with_suffix(f".{suffix}") for suffix in suffixes]
    for path in made:
        ffmpeg("-i", talk, path)
    return [talk, *made]


def test_every_format_is_heard_at_the_same_times(formats: list[Path], tmp_path: Path) -> None:
    run = extract(tmp_path / "job", *formats)
    for index, path in enumerate(formats):
        first, last = loud(samples(run, index))
        assert first == pytest.approx(1.05, abs=0.1), path  # the voice begins softly
        assert last == pytest.approx(2.97, abs=0.1), path
        assert run.done(index)["measured"]["seconds"] == pytest.approx(4, abs=0.15), path


def test_the_same_sound_is_the_same_bytes_and_a_tenth_of_the_file(tmp_path: Path) -> None:
    film = clip(tmp_path / "clip.mp4", 4, size=(640, 480))
    runs = [
        extract(tmp_path / name, film, env={"OMP_NUM_THREADS": threads}) for name, threads in (("a", "1"), ("b", "2"))
    ]
    assert runs[0].output().read_bytes() == runs[1].output().read_bytes()
    assert b"Lav" not in runs[0].output().read_bytes()[:1000]  # nor does it tell what made it
    assert runs[0].output().stat().st_size < film.stat().st_size / 10


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_track_that_starts_late_keeps_its_times(suffix: str, talk: Path, tmp_path: Path) -> None:
    film = tmp_path / f"late.{suffix}"
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=8")
    ffmpeg(*picture, "-itsoffset", "3", "-i", talk, "-map", "0:v", "-map", "1:a", film)
    first, last = loud(samples(extract(tmp_path / "job", film)))
    assert first == pytest.approx(4.05, abs=0.1)
    assert last == pytest.approx(5.97, abs=0.1)


def test_a_hole_in_the_sound_is_silence(talk: Path, tmp_path: Path) -> None:
    cut = tmp_path / "hole.mkv"
    with av.open(str(talk)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size and not 1.5 < float(packet.pts * packet.time_base) < 2.5:
                packet.stream = stream
                target.mux(packet)
    heard = samples(extract(tmp_path / "job", cut))
    assert len(heard) / RATE == pytest.approx(4, abs=0.1)
    assert not np.abs(heard[int(1.7 * RATE) : int(2.3 * RATE)]).any()
    assert loud(heard)[1] == pytest.approx(2.97, abs=0.1)


def test_the_default_track_is_heard(talk: Path, tmp_path: Path) -> None:
    hum = sound(tmp_path / "hum.wav", (4, 0.2))
    both = tmp_path / "both.mkv"
    ffmpeg(
        "-i", hum, "-i", talk, "-map", "0", "-map", "1", "-disposition:a:0", "0", "-disposition:a:1", "default", both
    )
    assert loud(samples(extract(tmp_path / "job", both)))[0] > 0.9


def test_covers_chapters_and_streams_without_an_end_are_no_damage(talk: Path, tmp_path: Path) -> None:
    chapters, cover = tmp_path / "chapters.txt", tmp_path / "cover.png"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=one\n")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", "1", cover)
    ffmpeg("-i", talk, "-i", chapters, "-map_metadata", "1", tmp_path / "a.m4b")
    picture = ("-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    for name in ("b.mp3", "c.flac"):
        ffmpeg("-i", talk, *picture, tmp_path / name)
    data = talk.read_bytes()  # a recorder that was never told the end leaves the length open
    (tmp_path / "d.wav").write_bytes(data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:])
    inputs = sorted(tmp_path.glob("?.*"))
    run = extract(tmp_path / "job", *inputs)
    for index, path in enumerate(inputs):
        assert loud(samples(run, index))[1] == pytest.approx(2.97, abs=0.1), path


# What is not whole, and what has no sound


def broken(folder: Path, formats: list[Path]) -> Iterator[Path]:
    for path in formats:
        if path.suffix in (".mp3", ".m4a", ".flac", ".wav", ".webm", ".mka"):
            yield truncate(path, folder / f"short{path.suffix}", 0.5)
        if path.suffix in (".mp3", ".m4a", ".flac", ".ogg", ".mka"):
            yield rot(path, folder / f"rotten{path.suffix}")
        if path.suffix == ".flac":
            yield rot(path, folder / "one-byte.flac", 0.5, 0.51, every=10**9)


def test_damage_is_refused_and_nothing_is_left(formats: list[Path], tmp_path: Path) -> None:
    """A part of a talk must not pass for the whole."""
    inputs = list(broken(tmp_path, formats))
    run = extract(tmp_path / "job", *inputs)
    for index, path in enumerate(inputs):
        kind, error = run.failure(index)
        assert kind == "bad_input", path
        assert "cut short" in error or "damaged" in error, path
        assert "copy it again" in error


def test_what_has_no_sound_says_so(tmp_path: Path) -> None:
    mute = clip(tmp_path / "mute.mp4", sound=False)
    text, flac, empty = tmp_path / "text.mp3", tmp_path / "text.flac", tmp_path / "empty.mp3"
    text.write_text("hello " * 100)
    flac.write_text("hello " * 100)
    empty.write_bytes(b"")
    playlist = tmp_path / "list.mp3"
    playlist.write_text("#EXTM3U\n/etc/passwd\n")
    run = extract(tmp_path / "job", mute, text, empty, playlist, flac)
    said = [run.failure(index) for index in range(5)]
    assert {kind for kind, _ in said} == {"bad_input"}
    for (_, error), words in zip(
        said, ("no sound", "not a file with sound", "empty", "playlist", "nothing in its"), strict=True
    ):
        assert words in error


def test_a_limit_is_a_limit(talk: Path, tmp_path: Path) -> None:
    kind, error = extract(tmp_path / "job", talk, limits={"seconds": 3}).failure()
    assert kind == "limit"
    assert "OFFLOAD_MAX_SECONDS" in error


def memory(folder: Path, seconds: int) -> int:
    """Most bytes that the script held while it worked on so much sound."""
    long = folder / f"{seconds}.wav"
    ffmpeg("-f", "lavfi", "-i", f"sine=300:r={RATE}:d={seconds}", long)
    job = start("extract_sound.py", folder / f"{seconds}", long, params={})  # and so its job directory is there
    assert job.done()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "extract_sound.py"), "job.json"], cwd=job.folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="counted in kilobytes on Linux")
def test_half_an_hour_takes_no_more_memory_than_a_second(tmp_path: Path) -> None:
    assert memory(tmp_path, 1800) < memory(tmp_path, 1) + 15_000_000  # the sound itself has 57,600,000 bytes
