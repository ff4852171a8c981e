"""Runs of a script by hand: a job directory, one command, and the events that it printed."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg

SCRIPT = Path(__file__).parents[2] / "remote_scripts/stabilize.py"
PARAMS = {
    "smoothing": 30,
    "shakiness": 5,
    "zoom": "auto",
    "crf": 23,
    "preset": "ultrafast",
    "to_sdr": False,
    "report": False,
}
LIMITS = {"pixels": 40_000_000, "seconds": 14_400}
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@dataclass(frozen=True)
class Run:
    """A finished run: its job directory, exit status, events and log."""

    folder: Path
    status: int
    events: list[dict[str, Any]]
    log: str

    @property
    def started(self) -> bool:
        """Whether any of the work was begun."""
        return "vidstabdetect" in self.log

    def of(self, kind: str, index: int = 0) -> list[dict[str, Any]]:
        """The events of one kind, of one item if they have any."""
        return [event for event in self.events if event["type"] == kind and event.get("index", index) == index]

    def done(self, index: int = 0) -> dict[str, Any]:
        """The item_done event of an item that must have been done."""
        failed = [event["error"] for event in self.of("item_failed", index)]
        assert not failed, failed
        (event,) = self.of("item_done", index)
        return event

    def failure(self, index: int = 0) -> tuple[str, str]:
        """The kind and sentence of an item that must have failed, and left nothing."""
        (event,) = self.of("item_failed", index)
        assert not list((self.folder / f"out/{index}").iterdir())
        return event["kind"], event["error"]

    def output(self, index: int = 0) -> Path:
        """The clip that an item made."""
        return self.folder / f"out/{index}" / str(self.done(index)["files"][0]["name"])

    def logged(self, index: int = 0) -> str:
        """What the person was told about an item."""
        return "\n".join(event["message"] for event in self.of("log", index))


def job(
    folder: Path, *inputs: Path, container: str = "mp4", limits: dict[str, Any] | None = None, **params: Any
) -> Path:
    """Write a job directory as the runner would. Returns `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    items = []
    for index, path in enumerate(inputs):
        place = folder / f"in/{index}{path.suffix}"
        place.symlink_to(path)
        items.append({"index": index, "input": f"in/{place.name}", "options": {"container": container}})
    spec = {
        "id": "test",
        "service": "stabilize",
        "params": PARAMS | params,
        "limits": LIMITS | (limits or {}),
        "items": items,
    }
    (folder / "job.json").write_text(json.dumps(spec))
    return folder


def stabilize(
    folder: Path,
    *inputs: Path,
    prefix: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    **options: Any,
) -> Run:
    """Run stabilize.py on `inputs` in a new job directory; `prefix` goes before the command."""
    job(folder, *inputs, **options)
    command = [*prefix, sys.executable, str(SCRIPT), "job.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})})
    return Run(folder, done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


def part(name: str) -> Any:
    """A neighbour of the script, imported as the script imports it."""
    if str(SCRIPT.parent) not in sys.path:
        sys.path.append(str(SCRIPT.parent))
    return importlib.import_module(name)


def times(path: Path) -> list[float]:
    """When each frame of the video is shown, in seconds, in order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base
        stamps = [packet.pts for packet in container.demux(stream) if packet.size]
        return sorted(float(stamp * stream.time_base) for stamp in stamps if stamp is not None)


def packets(path: Path, index: int) -> list[bytes]:
    """The payloads of one stream."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams[index]) if packet.size]


def first_frame(path: Path) -> av.VideoFrame:
    """The first picture of the first video stream."""
    with av.open(str(path)) as container:
        return next(container.decode(container.streams.video[0]))


def kinds(path: Path) -> list[tuple[str, str]]:
    """The type and codec of every stream."""
    with av.open(str(path)) as container:
        return [(s.type, s.codec_context.name if s.codec_context else "") for s in container.streams]


def wrapped_ffmpeg(folder: Path, before: str) -> Path:
    """An ffmpeg that is the pinned one with `before` added to its command line."""
    wrapper = folder / "ffmpeg"
    wrapper.write_text(f'#!/bin/sh\nexec "{FFMPEG}" {before} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper
