"""Names nobody thought of: every one works, its exact bytes are printed, and none of it drives a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from services.base.text import near, plain, shell
from tests.services.typed import FAKEWORK, PYTHON, QUICK, STABILIZE, environment, fake, stabilize, type_

NAMES = {
    "spaces": b" two  words .mp4",
    "quotes": b'it\'s "quoted" `here`.mp4',
    "filter": b"a:b;c,d[0:v]=1\\'x.mp4",
    "percent": b"100%d %s %(x)s.mp4",
    "dollar": b"$HOME ${x} $(id) & | > < ; #.mp4",
    "backslash": b"back\\slash\\n.mp4",
    "newline": b"two\nlines.mp4",
    "ending": b"clip.mp4\n",
    "dash": b"-clip.mp4",
    "option": b"--json",
    "glob": b"*[a-z]?.mp4",
    "tilde": b"~root.mp4",
    "unicode": "\u00fc\u0434\u0435\u0436\u0437 \u65e5\u672c\u8a9e e\u0301.mp4".encode(),
    "emoji": "\U0001f469\u200d\U0001f4bb :smile: [red].mp4".encode(),
    "bidi": "\u202ereverse\u2066.mp4".encode(),
    "escape": b"\x1b[2J\x07\x9b.mp4",
    "return": b"covered\rup\tby.mp4",
    "latin": b"caf\xe9 \xff.mp4",
    "long": b"l" * 246 + b".mp4",
    "wide": "\u65e5".encode() * 82 + b".mp4",
}
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def expected(name: bytes) -> bytes:
    """The default name of a result, as a person would make it, but no longer than a name may be."""
    path = Path(os.fsdecode(name))
    stem, suffix = os.fsencode(path.stem), b".mp4"
    while len(stem) + len(b".stabilized.mp4") > 255:
        stem = os.fsencode(os.fsdecode(stem)[:-1])
    return stem + b".stabilized" + suffix


def test_clips_of_any_name_are_stabilised(here: Path, shaky: Path) -> None:
    folder = os.fsencode(here) + b"/"
    for name in NAMES.values():
        shutil.copy(shaky, folder + name)
    said = stabilize(here, "-0", "--preset", "ultrafast", "--", *NAMES.values())
    assert said.code == 0, said.err
    assert said.out.split(b"\0") == [*(folder + expected(name) for name in NAMES.values()), b""]
    assert {os.fsencode(path.name) for path in here.iterdir()} == {*NAMES.values(), *map(expected, NAMES.values())}
    assert not CONTROLS.search(said.err)
    assert sum(" -> " in line for line in said.err.splitlines()) == len(NAMES)


@pytest.mark.parametrize("name", [b"-o", b"-clip.dat", b"--overwrite"])
def test_leading_dashes_have_two_ways_in(here: Path, name: bytes) -> None:
    (here / os.fsdecode(name)).write_bytes(b"work")
    for words in (["--", name], [b"./" + name, "--overwrite"]):
        said = fake(here, *words)
        assert said.code == 0, said.err


def test_names_without_surprises_need_no_nul(here: Path) -> None:
    for name in ("a b.dat", "c\nd.dat", "\udcff.dat"):
        (here / name).write_bytes(b"work")
    said = fake(here, ".")
    made = (b"\xff.worked.bin", b"a b.worked.bin", b"c\nd.worked.bin")
    assert sorted(said.out.split(os.fsencode(here) + b"/")[1:]) == sorted(name + b"\n" for name in made)


def test_an_output_of_any_name_is_made(here: Path, data: Path) -> None:
    name = b"it's\n\x1b[31m %s \xff.bin"
    said = type_([*FAKEWORK, *QUICK, "-0", "a.dat", b"-o" + name], here)
    assert (said.code, said.out) == (0, os.fsencode(here) + b"/" + name + b"\0")
    assert not CONTROLS.search(said.err)


def test_a_report_of_any_name_is_made(here: Path, clip_here: Path) -> None:
    name = b"plot \xff\n.png"
    said = type_([*STABILIZE, "-0", "clip.mp4", b"--report=" + name], here)
    assert said.code == 0, said.err
    assert said.out.split(b"\0") == [os.fsencode(here) + b"/" + part for part in (b"clip.stabilized.mp4", name)] + [b""]


def test_what_is_said_of_missing_files_is_plain(here: Path) -> None:
    said = fake(here, "--", *(b"no " + name for name in NAMES.values()))
    assert said.code == 3
    assert not CONTROLS.search(said.err)
    assert len(said.err.splitlines()) == len(NAMES)


@pytest.mark.parametrize("words", [["--bogus\x1b[2J"], ["a.dat", "--trouble=\x1b]0;x\x07", "--on=\x1b[1m"]])
def test_what_is_said_of_a_wrong_option_is_plain(here: Path, data: Path, words: list[str]) -> None:
    said = fake(here, *words)
    assert said.code == 2
    assert not CONTROLS.search(said.err)


def test_what_a_script_says_is_plain(here: Path, data: Path) -> None:
    said = fake(here, "a.dat", "--trouble", "log")
    assert "made up line" in said.err
    assert not CONTROLS.search(said.err)
    assert not any(line.startswith("made up") for line in said.err.splitlines())


def test_a_document_of_any_names_is_json(here: Path) -> None:
    for name in NAMES.values():
        Path(os.fsdecode(os.fsencode(here) + b"/" + name)).write_bytes(b"work")
    said = fake(here, "--json", "-o", "out/", "--", *NAMES.values())
    assert said.code == 0, said.err
    assert {os.fsencode(Path(item["input"]).name) for item in said.document["items"]} == set(NAMES.values())


# The words themselves


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31m\n\u202e\x9b", "a\\x1b[31m\\n\\u202e\\x9b"),
        ("caf\udce9", "caf\\xe9"),
        ("\u65e5\u3000\u202f\u00a0\U0001f469\u200d\U0001f4bb", "\u65e5\u3000\u202f\u00a0\U0001f469\u200d\U0001f4bb"),
        ("back\\slash [red] :smile:", "back\\slash [red] :smile:"),
    ],
)
def test_plain_spells_out_what_cannot_be_seen(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain(shown) == shown


@pytest.mark.parametrize("with_", ["sh", "bash"])
def test_a_command_is_the_same_words_to_a_shell(with_: str) -> None:
    repeat = "import os, sys; print([os.fsencode(word) for word in sys.argv[1:]])"
    command = shell([PYTHON, "-c", repeat, *map(os.fsdecode, NAMES.values())])
    assert not CONTROLS.search(command)
    done = subprocess.run([with_, "-c", command], capture_output=True, env=environment(), check=True)
    assert done.stdout.decode().strip() == repr(list(NAMES.values()))


def test_paths_below_here_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert near(tmp_path / "work" / "sub" / "a.mp4") == "sub/a.mp4"
    assert near(tmp_path / "a.mp4") == str(tmp_path / "a.mp4")
