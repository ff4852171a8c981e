"""The services that use models, typed whole, with tiny models of random weights: here and on other machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import media
from tests.once import once, once_apart
from tests.services.typed import Said, type_
from tests.ssh.jobs import tried

SPEECH = Path(__file__).parents[3] / "shared/data/speech-jfk.flac"


@dataclass(frozen=True)
class Use:
    """One way to use a service: what it is typed with, apart from the model, and what it makes of `clip.mp4`."""

    service: str
    words: tuple[str, ...]
    outputs: tuple[str, ...]
    model: Callable[[Path], object]


def whisper(folder: Path) -> Path:
    """A model that hears the same two sentences in everything."""
    from tests.checkpoints import whisper

    return whisper.write(folder / "tiny.pt")


def clip_model(folder: Path) -> Path:
    """A model of open_clip's."""
    from tests.checkpoints import clip

    return clip.save(folder)


def blip(folder: Path) -> object:
    """A model that captions."""
    from tests.checkpoints import blip
    from tests.remote_scripts.runs import part

    part("_torch").mend_torchvision()
    return blip.save(folder)


USES = TRANSCRIBE, TAG, CAPTION = (
    Use("transcribe", ("-f", "srt,vtt,json"), ("clip.srt", "clip.vtt", "clip.json"), whisper),
    Use("tag", ("--top", "5"), ("clip.tags.json",), clip_model),
    Use("caption", ("--frames", "2"), ("clip.captions.json",), blip),
)


def model(use: Use) -> Path:
    """The model's file or folder, made once."""
    make = use.model.__name__
    folder = once_apart(f"model-{use.service}", f"from tests.services.everywhere import {make}; {make}(folder)")
    files = list(folder.iterdir())
    return files[0] if len(files) == 1 and files[0].is_file() else folder


def footage(folder: Path) -> Path:
    """Twelve seconds of film with sound: real speech where it is at hand, else a tone."""
    folder.mkdir(exist_ok=True)
    sound = ["-i", str(SPEECH)] if SPEECH.exists() else ["-f", "lavfi", "-i", "sine=frequency=300:duration=12"]
    picture = ["-f", "lavfi", "-i", media.footage(), "-t", "12", "-r", "5"]
    media.ffmpeg(*sound, *picture, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", folder / "clip.mp4")
    return folder / "clip.mp4"


def use_on(use: Use, folder: Path, target: str, env: Mapping[str, str] | None = None) -> Said:
    """Type the service for `clip.mp4` in a folder, to run on a target."""
    words = ("clip.mp4", "--model", str(model(use)), "--on", target, "--json", "--overwrite", *use.words)
    return type_(
        [sys.executable, "-m", f"services.{use.service}", *words], folder, {"OMP_NUM_THREADS": "1", **(env or {})}
    )


def made(use: Use, folder: Path) -> dict[str, bytes]:
    """What it made."""
    return {name: (folder / name).read_bytes() for name in use.outputs}


def expected(use: Use) -> dict[str, bytes]:
    """What it makes here. That is found out once, whatever the targets are that it is compared with."""

    def fill(folder: Path) -> None:
        footage(folder)
        here = use_on(use, folder, "local")
        assert here.code == 0, here.err

    model(use)
    return made(use, once(f"made-{use.service}", fill))


def assert_same_there_as_here(use: Use, folder: Path, target: str) -> Said:
    """The outputs of a use are the same on a target as they are here, though only what was prepared travels."""
    clip = footage(folder)
    there = use_on(use, folder, target)
    assert there.code == 0, there.err
    assert tried(there) == [("local", "done"), (target, "done")], there.err  # the first prepares
    assert made(use, folder) == expected(use)
    (item,) = there.document["items"]
    assert item["size"] == clip.stat().st_size
    assert item["payload"]["size"] > 0
    return there
