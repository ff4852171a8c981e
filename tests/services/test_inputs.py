"""What may be an input, what is said of what may not, and which exit code it ends with."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from services.base.inputs import Rejected, expand
from services.stabilize import SERVICE
from tests.media import ffmpeg, truncate
from tests.services.typed import STABILIZE, fake, mortal, stabilize, type_


def make(here: Path, kind: str, shaky: Path) -> Path:
    """Make something that is no clip."""
    path = here / f"{kind}.mp4"
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("not a video at all\n" * 100)
        case "playlist":
            path.write_text("#EXTM3U\n#EXTINF:1,\nclip.mp4\n")
        case "truncated":
            truncate(shaky, path, 0.6)
        case "sound":
            ffmpeg("-f", "lavfi", "-i", "sine=440:d=0.3", "-c:a", "aac", path)
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.path.relpath(path))
        case "dangling":
            path.symlink_to("nowhere.mp4")
        case "loop":
            path.symlink_to("loop.mp4")
        case "folder":
            path.mkdir()
    return path


SENTENCES = {
    "missing": "no such file",
    "empty": "empty",
    "text": "not a video",
    "playlist": "playlist",
    "truncated": "cut short",
    "sound": "no video",
    "fifo": "not a file",
    "device": "not a file",
    "socket": "not a file",
    "dangling": "leads nowhere",
    "loop": "cannot be read",
    "folder": "nothing to stabilize",
}


@pytest.mark.parametrize(("kind", "says"), SENTENCES.items())
def test_what_is_no_clip_is_named_in_one_sentence(
    here: Path, shaky: Path, kind: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    make(here, kind, shaky)
    said = stabilize(here, f"{kind}.mp4")
    assert (said.code, said.out) == (3, b"")
    [sentence] = [line for line in said.err.splitlines() if not line.startswith("running on")]
    assert sentence.startswith(f"{kind}.mp4: ")
    assert says in sentence
    assert [path.name for path in here.iterdir()] == ([f"{kind}.mp4"] if kind != "missing" else [])


def test_of_several_inputs_the_good_ones_are_done(here: Path, shaky: Path, clip_here: Path) -> None:
    for kind in ("empty", "truncated"):
        make(here, kind, shaky)
    said = stabilize(here, "empty.mp4", "clip.mp4", "missing.mp4", "truncated.mp4")
    assert said.code == 101
    assert said.lines == [str(here / "clip.stabilized.mp4")]
    for name in ("empty.mp4: ", "missing.mp4: ", "truncated.mp4: "):
        assert sum(line.startswith(name) for line in said.err.splitlines()) == 1
    assert "1 of 3 done" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["bad.dat", "missing.dat"], 3),
        (["bad.dat"], 3),
        (["lacking.dat"], 4),
        (["failing.dat"], 6),
        (["large.dat"], 8),
        (["bad.dat", "large.dat"], 6),
        (["bad.dat", "good.dat"], 101),
        (["missing.dat", "good.dat"], 101),
        (["good.dat"], 0),
    ],
)
def test_the_exit_code_tells_what_was_wrong(here: Path, words: list[str], code: int) -> None:
    contents = {"bad": "!bad_input", "lacking": "!missing", "failing": "!failed", "large": "!limit", "good": "good"}
    for name, content in contents.items():
        (here / f"{name}.dat").write_text(content)
    said = fake(here, *words)
    assert said.code == code, said.err
    assert [Path(line).name for line in said.lines] == (["good.worked.bin"] if "good.dat" in words else [])


def test_a_script_that_fails_says_where_its_log_is(here: Path) -> None:
    (here / "a.dat").write_text("!failed")
    said = fake(here, "a.dat")
    assert "a.dat: it does not work" in said.err
    assert "offload jobs logs" in said.err.splitlines()[-1]


def test_an_unreadable_input_is_named(here: Path, clip_here: Path) -> None:
    (here / "closed").mkdir()
    shutil.copy(clip_here, here / "closed")
    clip_here.chmod(0)
    (here / "closed").chmod(0)
    words = ["clip.mp4", "closed", "closed/clip.mp4"]
    said = type_(mortal([*STABILIZE, *words]), here)
    (here / "closed").chmod(0o700)
    assert (said.code, said.out) == (3, b"")
    lines = said.err.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, words, strict=True):
        assert line.startswith(f"{name}: ")
        assert line.endswith("cannot be read: permission denied")


# Folders and patterns


@pytest.fixture
def footage(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two clips, one of them done before, and what is no clip of its own."""
    monkeypatch.chdir(here)
    for name in ("a.mp4", "a.stabilized.mp4", "b.MOV", "notes.txt", "._a.mp4", ".hidden.mp4", "[x].mkv"):
        (here / name).write_text("-")
    (here / "sub").mkdir()
    (here / "sub" / "c.mp4").write_text("-")
    return here


def found(*words: str) -> list[str]:
    """Names of the inputs that words stand for."""
    paths, rejected = expand(words, SERVICE)
    assert not rejected
    return sorted(os.path.relpath(path) for path in paths)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        (".", ["[x].mkv", "a.mp4", "b.MOV"]),
        ("sub", ["sub/c.mp4"]),
        ("*.mp4", ["a.mp4"]),
        ("*.m[op]*", ["a.mp4"]),
        ("?.M*", ["b.MOV"]),
        ("**/*.mp4", ["a.mp4", "sub/c.mp4"]),
        ("[x].mkv", ["[x].mkv"]),
        ("a.stabilized.mp4", ["a.stabilized.mp4"]),
        (".hidden.mp4", [".hidden.mp4"]),
    ],
)
def test_folders_and_patterns_stand_for_their_clips(footage: Path, word: str, names: list[str]) -> None:
    assert found(word) == names


@pytest.mark.parametrize(("word", "says"), [("*.avi", "no file matches"), ("", "empty name"), ("x" * 300, "too long")])
def test_what_stands_for_nothing_is_said(footage: Path, word: str, says: str) -> None:
    paths, [rejected] = expand([word], SERVICE)
    assert not paths
    assert isinstance(rejected, Rejected)
    assert says in rejected.error


def test_a_folder_of_clips_is_done_once(here: Path, clip_here: Path) -> None:
    shutil.copy(clip_here, here / "second.mp4")
    first = stabilize(here, ".")
    assert first.code == 0
    assert [Path(line).name for line in first.lines] == ["clip.stabilized.mp4", "second.stabilized.mp4"]
    again = stabilize(here, ".", "--skip-existing")
    assert (again.code, again.lines) == (0, first.lines)
