"""Where results go: default names, folders, and every clash found before anything starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from broker.errors import UsageError
from services.base.inputs import assign, by_existing, distinct, existing
from services.base.options import parse
from services.stabilize import SERVICE, Stabilize
from services.tag import SERVICE as TAG
from services.tag import Tag
from services.transcribe import SERVICE as TRANSCRIBE
from services.transcribe import Transcribe
from tests.fakework.fake import SERVICE as FAKE
from tests.fakework.fake import Work
from tests.services.typed import FAKEWORK, QUICK, Said, fake, mortal, stabilize, type_


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("clip.mp4", "clip.stabilized.mp4"),
        ("clip.mov", "clip.stabilized.mov"),
        ("clip.mkv", "clip.stabilized.mkv"),
        ("clip.webm", "clip.stabilized.mp4"),
        ("clip.avi", "clip.stabilized.mp4"),
        ("clip.ts", "clip.stabilized.mp4"),
        ("CLIP.MP4", "CLIP.stabilized.mp4"),
        ("clip", "clip.stabilized.mp4"),
        ("clip.2024.mp4", "clip.2024.stabilized.mp4"),
        (".mp4", ".mp4.stabilized.mp4"),
    ],
)
def test_the_default_output_lies_beside_the_input(tmp_path: Path, name: str, result: str) -> None:
    [entry] = assign([tmp_path / name], None, SERVICE, Stabilize())
    assert list(entry.outputs.values()) == [tmp_path / result]


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u65e5", "\U0001f600"])
def test_a_long_name_leaves_room_for_the_label(tmp_path: Path, letter: str) -> None:
    name = letter * (250 // len(letter.encode())) + ".mp4"
    [entry] = assign([tmp_path / name], None, SERVICE, Stabilize())
    [dest] = entry.outputs.values()
    assert len(os.fsencode(dest.name)) <= 255
    assert dest.name.endswith(f"{letter}.stabilized.mp4")


@pytest.mark.parametrize(("output", "made"), [("out/", "out"), ("deep/er/", "deep/er"), ("there", "there")])
def test_a_folder_takes_the_results(here: Path, data: Path, output: str, made: str) -> None:
    (here / "there").mkdir()
    said = fake(here, "a.dat", "-o", output)
    assert said.code == 0
    assert said.lines == [str(here / made / "a.worked.bin")]
    assert Path(said.lines[0]).stat().st_size > 0


def refused(said: Said, folder: Path, *words: str) -> None:
    """The command did nothing, and its sentence has these words."""
    assert (said.code, said.out) == (2, b"")
    assert len(said.err.splitlines()) <= 2
    for word in words:
        assert word in said.err
    assert not [path for path in folder.rglob("*") if ".worked" in path.name or path.name.endswith(".part")]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("out.txt", ["out.txt", ".bin", "/"]),
        ("missing/out.bin", ["no folder missing", "mkdir -p"]),
        ("a.dat/", ["a.dat"]),
        ("a.dat/out.bin", ["a.dat"]),
        (f"{'n' * 300}.bin", ["too long"]),
        ("", ["-o"]),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_start(
    here: Path, data: Path, output: str, words: list[str]
) -> None:
    refused(fake(here, "a.dat", "-o", output), here, *words)


def test_one_file_cannot_take_several_inputs(here: Path, data: Path) -> None:
    shutil.copy(data, here / "b.dat")
    refused(fake(here, "a.dat", "b.dat", "-o", "out.bin"), here, "2 inputs", "out.bin", "FOLDER/")
    refused(fake(here, "a.dat", "missing.dat", "-o", "out.bin"), here, "2 inputs", "out.bin")


def test_two_formats_of_one_clip_clash(here: Path, shaky: Path) -> None:
    shutil.copy(shaky, here / "clip.mp4")
    shutil.copy(shaky, here / "clip.avi")
    said = stabilize(here, "clip.mp4", "clip.avi")
    refused(said, here, "clip.mp4", "clip.avi", "clip.stabilized.mp4")
    assert len(list(here.iterdir())) == 2


def test_of_a_folder_those_that_clash_are_left_and_the_rest_is_done(here: Path) -> None:
    for name in ("a.dat", "b.dat", "sub/a.dat"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(name)
    said = fake(here, ".", "sub", "-o", "out/")
    assert said.code == 101
    assert said.lines == [str(here / "out/b.worked.bin")]
    for name, other in (("a.dat", "sub/a.dat"), ("sub/a.dat", "a.dat")):
        told = f"{name}: like {other} it would become out/a.worked.bin; give it an output of its own with -o"
        assert said.err.splitlines().count(told) == 1
    assert [path.name for path in (here / "out").iterdir()] == ["b.worked.bin"]


def test_a_clip_and_a_picture_of_one_name_are_left(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jpg", "clip.jpg", "clip.mp4", "clip.png", "z.mp4")]
    kept, left = distinct(assign(paths, None, TAG, Tag()))
    assert [entry.source.name for entry in kept] == ["a.jpg", "z.mp4"]
    assert [entry.path.name for entry in left] == ["clip.mp4", "clip.jpg", "clip.png"]


def test_the_same_name_from_two_folders_clashes(here: Path) -> None:
    for folder in ("x", "y"):
        (here / folder).mkdir()
        (here / folder / "a.dat").write_text(folder)
    refused(fake(here, "x", "y", "-o", "out/"), here, "x/a.dat", "y/a.dat", "out/a.worked.bin")
    assert not (here / "out").exists()
    (here / "out").mkdir()
    (here / "also").symlink_to("out")
    assert fake(here, "x", "y").code == 0


def test_one_input_twice_is_refused(here: Path, data: Path) -> None:
    refused(fake(here, "a.dat", "a.dat"), here, "a.dat", "twice")
    shutil.copy(data, here / "b.dat")
    refused(fake(here, "a.dat", "b.dat", "a.dat"), here, "a.dat", "twice")
    refused(fake(here, "a.dat", f"../{here.name}/a.dat"), here, "a.dat")


def test_one_report_cannot_take_several_clips(here: Path, clip_here: Path) -> None:
    shutil.copy(clip_here, here / "other.mp4")
    said = stabilize(here, "clip.mp4", "other.mp4", "--report", "plot.png")
    refused(said, here, "clip.mp4", "other.mp4", "plot.png")


def test_a_folder_takes_the_report_of_each(here: Path, clip_here: Path) -> None:
    shutil.copy(clip_here, here / "other.mp4")
    (here / "plots").mkdir()
    for named in ("plots", "plots/"):
        params = parse(Stabilize, {"report": f"{here}/{named}"})
        inputs = assign([here / "clip.mp4", here / "other.mp4"], None, SERVICE, params)
        reports = [entry.outputs["report.png"] for entry in inputs]
        assert reports == [here / "plots" / f"{name}.report.png" for name in ("clip", "other")]
    refused(stabilize(here, "clip.mp4", "-o", "new/", "--report=none/"), here, "there is no folder none", "mkdir -p ")
    assert not (here / "new").exists()


def test_apart_each_input_has_a_folder_for_what_becomes_of_it(here: Path) -> None:
    for folder in ("x", "y"):
        (here / folder).mkdir()
        (here / folder / "a.dat").write_text(folder)
    refused(fake(here, "x", "y", "--apart"), here, "--apart", "-o FOLDER/")
    refused(fake(here, "x/a.dat", "--apart", "-o", "b.bin"), here, "--apart", "-o FOLDER/")
    assert fake(here, "x", "y", "--apart", "-o", "out/", "--dry-run").code == 0
    assert not (here / "out").exists()
    said = fake(here, "x", "y", "--apart", "-o", "out/")
    assert said.lines == [str(here / "out" / place / "a.worked.bin") for place in "01"]
    (here / "there").mkdir()
    assert fake(here, "x", "y", "--apart", "-o", "there").code == 0
    assert [*(here / "there").glob("*/*")] == [here / "there" / place / "a.worked.bin" for place in "01"]


@pytest.mark.parametrize("way", ["itself", "dots", "hard", "symbolic", "folder"])
def test_an_input_is_never_an_output(here: Path, way: str) -> None:
    clip = here / "clip.bin"
    clip.write_bytes(b"precious")
    (here / "hard.bin").hardlink_to(clip)
    (here / "symbolic.bin").symlink_to("clip.bin")
    (here / "folder").symlink_to(".")
    output = {"itself": "clip.bin", "dots": f"../{here.name}/clip.bin", "folder": "folder/clip.bin"}
    said = fake(here, "clip.bin", "--overwrite", "-o", output.get(way, f"{way}.bin"))
    refused(said, here, "is an input", "-o")
    assert clip.read_bytes() == b"precious"


def test_another_input_is_never_an_output(here: Path) -> None:
    (here / "a.worked.bin").write_bytes(b"precious")
    (here / "a.dat").write_bytes(b"work")
    refused(fake(here, "a.dat", "a.worked.bin", "--overwrite"), Path(os.devnull), "a.worked.bin is an input")
    assert (here / "a.worked.bin").read_bytes() == b"precious"


def test_what_exists_is_kept_replaced_or_left_alone_as_asked(here: Path, data: Path) -> None:
    dest = here / "a.worked.bin"
    dest.write_bytes(b"old")
    said = fake(here, "a.dat")
    assert (said.code, said.out, dest.read_bytes()) == (2, b"", b"old")
    assert "a.worked.bin exists" in said.err
    assert "--overwrite" in said.err
    assert "--skip-existing" in said.err

    said = fake(here, "a.dat", "--skip-existing")
    assert (said.code, said.lines, dest.read_bytes()) == (0, [str(dest)], b"old")

    said = fake(here, "a.dat", "--overwrite")
    assert (said.code, said.lines) == (0, [str(dest)])
    assert dest.read_bytes() != b"old"


def test_of_several_only_what_is_missing_is_made(here: Path, data: Path) -> None:
    shutil.copy(data, here / "b.dat")
    (here / "b.worked.bin").write_bytes(b"old")
    said = fake(here, "a.dat", "b.dat", "--skip-existing")
    assert said.code == 0
    assert sorted(said.lines) == [str(here / "a.worked.bin"), str(here / "b.worked.bin")]
    assert (here / "b.worked.bin").read_bytes() == b"old"


def test_half_a_result_is_not_taken_for_a_whole_one(here: Path, data: Path) -> None:
    (here / "a.worked.txt").write_text("the digest of something else")
    said = fake(here, "a.dat", "--digest", "--skip-existing")
    assert (said.code, said.out) == (2, b"")
    assert "a.worked.txt exists, but not a.worked.bin" in said.err
    assert "--overwrite in place of --skip-existing" in said.err
    assert "add " not in said.err
    (here / "b.dat").write_bytes(b"more work")
    said = fake(here, "a.dat", "b.dat", "--digest", "--skip-existing", "--json")
    assert said.code == 101
    assert [entry["input"] for entry in said.document["rejected"]] == [str(here / "a.dat")]
    assert "a.dat: a.worked.txt exists, but not a.worked.bin: " in said.err
    assert (here / "b.worked.bin").exists()
    assert not (here / "a.worked.bin").exists()
    assert (here / "a.worked.txt").read_text() == "the digest of something else"


def test_a_format_that_is_missing_is_asked_for_by_itself(tmp_path: Path) -> None:
    for name in ("talk.mp4", "other.mp4", "talk.srt"):
        (tmp_path / name).touch()
    params = Transcribe(format=("srt", "vtt"))
    inputs = assign([tmp_path / "talk.mp4", tmp_path / "other.mp4"], None, TRANSCRIBE, params)
    none, every, [half] = by_existing(inputs, params)
    assert ([entry.source.name for entry in none], every, half.path.name) == (["other.mp4"], [], "talk.mp4")
    assert half.error.startswith(
        f"{tmp_path}/talk.srt exists, but not {tmp_path}/talk.vtt: -f vtt makes what is missing"
    )
    [entry] = assign([tmp_path / "talk.mp4"], None, TRANSCRIBE, Transcribe(format=("vtt",)))
    assert not existing(entry)


@pytest.mark.parametrize(
    ("output", "format_", "hint"),
    [("out.srt", ("json",), "-o out.json or -f srt"), ("my out.vtt", ("tsv", "txt"), "-o 'my out.tsv' or -f vtt")],
)
def test_a_format_and_the_name_of_another_are_refused(output: str, format_: tuple[str, ...], hint: str) -> None:
    with pytest.raises(UsageError, match=rf"-o {output}: .* would become {output[:-4]}\.{format_[0]}") as caught:
        assign([Path("/talk.mp4")], output, TRANSCRIBE, Transcribe(format=format_))
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("output", "format_", "made"),
    [
        ("out.srt", ("srt", "json"), ["out.srt", "out.json"]),
        ("out.SRT", None, ["out.srt"]),
        ("v.1.vtt", None, ["v.1.vtt"]),
        ("folder/", ("json",), ["folder/talk.json"]),
    ],
)
def test_a_name_goes_with_its_format(output: str, format_: tuple[str, ...] | None, made: list[str]) -> None:
    [entry] = assign([Path("/talk.mp4")], output, TRANSCRIBE, Transcribe(format=format_))
    assert list(entry.outputs.values()) == [Path.cwd() / name for name in made]


def test_a_link_that_leads_nowhere_is_something_that_exists(here: Path, data: Path) -> None:
    (here / "a.worked.bin").symlink_to("nowhere")
    assert fake(here, "a.dat").code == 2
    assert fake(here, "a.dat", "--overwrite").code == 0
    assert not (here / "nowhere").exists()


def test_a_folder_in_the_place_of_a_result_stays(here: Path, data: Path) -> None:
    (here / "a.worked.bin").mkdir()
    said = fake(here, "a.dat", "--overwrite")
    assert (said.code, said.out) == (2, b"")
    assert "a.worked.bin is a folder" in said.err


def test_a_folder_that_cannot_be_written_is_named_before_the_start(here: Path, data: Path) -> None:
    (here / "closed").mkdir(mode=0o500)
    said = type_(mortal([*FAKEWORK, *QUICK, "a.dat", "-o", "closed"]), here)
    assert (said.code, said.out) == (2, b"")
    assert "closed cannot be written" in said.err
    assert "-o FOLDER/" in said.err
    said = type_(mortal([*FAKEWORK, *QUICK, "a.dat", "-o", "closed/new/"]), here)
    assert (said.code, said.out) == (2, b"")
    assert "closed/new cannot be made: permission denied" in said.err


def test_digest_and_result_go_side_by_side(tmp_path: Path) -> None:
    [entry] = assign([tmp_path / "a.dat"], f"{tmp_path}/out.bin", FAKE, Work(digest=True))
    assert entry.outputs == {"worked.bin": tmp_path / "out.bin", "digest.txt": tmp_path / "out.txt"}
