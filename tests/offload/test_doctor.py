"""`offload doctor` and `offload targets`: what is here, and what to type where something is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.typed import fake, offload, stabilize


def test_all_is_well_here(here: Path) -> None:
    said = offload(here, "doctor")
    assert said.code == 0, said.out
    names = {line[6:].partition(":")[0] for line in said.lines}
    assert {"Python", "cache folder", "state folder", "journal", "stabilize", "ffmpeg"} <= names
    assert {"ffmpeg vidstabdetect", "ffmpeg vidstabtransform", "ffmpeg libx264"} <= names
    assert all(line.startswith("ok    ") for line in said.lines)


@pytest.mark.parametrize("kind", ["missing", "broken", "text", "silent", "other"])
def test_an_ffmpeg_that_does_not_work_is_named(here: Path, kind: str) -> None:
    exe = here / kind
    contents = {
        "broken": "#!/bin/sh\necho broken >&2\nexit 1\n",
        "text": "not a program\n",
        "silent": "#!/bin/sh\n",
        "other": '#!/bin/sh\necho "ffmpeg version 0.1 Copyright"\n',
    }
    if kind in contents:
        exe.write_text(contents[kind])
        exe.chmod(0o755)
    said = offload(here, "doctor", env={"IMAGEIO_FFMPEG_EXE": str(exe)})
    assert said.code == 4
    failures = [line for line in said.lines if line.startswith("FAIL")]
    assert failures
    assert all(str(exe) in line and "unset IMAGEIO_FFMPEG_EXE" in line for line in failures)


def test_stabilise_without_an_ffmpeg_that_works_ends_with_4(here: Path, clip_here: Path) -> None:
    said = stabilize(here, "clip.mp4", env={"IMAGEIO_FFMPEG_EXE": str(here / "nothing")})
    assert (said.code, said.out) == (4, b"")
    assert "IMAGEIO_FFMPEG_EXE" in said.err
    assert list(here.iterdir()) == [clip_here]


def test_a_full_disk_is_seen(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from offload import doctor

    monkeypatch.setattr(doctor, "DISK_BYTES", 10**18)
    with pytest.raises(SystemExit) as ended:
        doctor.doctor.main([], standalone_mode=False)
    assert ended.value.code == 4
    assert "FAIL  cache folder" in capsys.readouterr().out


def test_targets_are_listed_in_the_order_they_are_tried(here: Path, offload_dirs: Path) -> None:
    file = offload_dirs / "config" / "targets.toml"
    (here / "file").touch()
    file.write_text(f'[near]\nurl = "local://{here}/near"\n[gone]\nurl = "local://{here}/file/x"\n')
    rows = [line.split("\t") for line in offload(here, "targets", "ls").lines]
    assert [row[:3] for row in rows] == [["near", "local", "up"], ["gone", "local", "away"], ["local", "local", "up"]]
    assert "cannot be reached" in rows[1][3]
    assert "CPUs" in rows[0][3]
    assert "GB free" in rows[0][3]
    document = offload(here, "targets", "ls", "--json").document
    assert [(row["name"], row["reachable"]) for row in document] == [("near", True), ("gone", False), ("local", True)]


def test_a_named_target_is_used_and_told(here: Path, data: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config" / "targets.toml").write_text(f'[near]\nurl = "local://{here}/near"\nshare = "no"\n')
    said = fake(here, "a.dat", "--on", "near", "--no-fallback")
    assert said.code == 0, said.err
    assert said.err.startswith("running on near: ")
    assert (here / "near").is_dir()


# What is wrong with the configuration is said with its place


FILES = [
    ("config.toml", "max_seconds = \n"),
    ("config.toml", "max_seconds = -1\n"),
    ("config.toml", "surprise = 1\n"),
    ("targets.toml", "[x]\n"),
    ("targets.toml", '[local]\nurl = "local:///x"\n'),
    ("targets.toml", "\xff"),
]
COMMANDS = [("jobs", "ls"), ("targets", "ls"), ("doctor",), ("stabilize", "clip.mp4")]


@pytest.mark.parametrize(
    ("command", "file", "text"),
    [*((COMMANDS[-1], *wrong) for wrong in FILES), *((command, *FILES[3]) for command in COMMANDS[:-1])],
)
def test_a_wrong_file_is_named(
    here: Path, clip_here: Path, offload_dirs: Path, command: tuple[str, ...], file: str, text: str
) -> None:
    (offload_dirs / "config" / file).write_bytes(text.encode("latin-1"))
    said = offload(here, *command)
    assert said.code == 7, said.err
    assert str(offload_dirs / "config" / file) in said.err
    assert len(said.err.splitlines()) == 2


def test_an_unknown_kind_of_target_is_named(here: Path, data: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config" / "targets.toml").write_text('[x]\nurl = "carrier-pigeon://roof"\n')
    said = fake(here, "a.dat")
    assert said.code == 7
    assert "carrier-pigeon" in said.err


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_SECONDS", "abc"), ("MAX_PIXELS", "-1"), ("CANCEL_GRACE", "soon"), ("MAX_SECONDS", "0")]
)
def test_a_wrong_variable_is_named(here: Path, clip_here: Path, name: str, value: str) -> None:
    said = stabilize(here, "clip.mp4", env={f"OFFLOAD_{name}": value})
    assert said.code == 7
    assert f"OFFLOAD_{name}" in said.err
    assert len(said.err.splitlines()) <= 2


def test_a_limit_from_the_environment_holds(here: Path, clip_here: Path) -> None:
    said = stabilize(here, "clip.mp4", env={"OFFLOAD_MAX_SECONDS": "0.1"})
    assert (said.code, said.out) == (8, b"")
    assert "OFFLOAD_MAX_SECONDS" in said.err
