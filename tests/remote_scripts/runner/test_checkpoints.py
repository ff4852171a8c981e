"""What an earlier attempt finished lies where the script looks; what the script finishes is there whole or not."""

from __future__ import annotations

import io
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import _job
import pytest
from _runner import jobs, layout

from tests.remote_scripts.runner.job import JOB, request

SHA = "a" * 64


@pytest.fixture
def piece(tmp_path: Path) -> Path:
    """A finished piece that lies on this machine."""
    path = tmp_path / "piece"
    path.write_bytes(b"a finished piece")
    return path


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)


def with_checkpoints(path: Path, *pieces: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """A request for a job with one input, which lies at `path`, and these checkpoints of it."""
    return request(inputs=[{"index": index, "suffix": "", **in_place(path), "checkpoints": list(pieces)}])


def in_place(path: Path) -> dict[str, Any]:
    found = path.stat()
    return {"path": str(path), "size": found.st_size, "mtime_ns": found.st_mtime_ns}


class TestPlacing:
    def test_a_piece_lies_where_the_script_looks_for_it(self, root: Path, piece: Path) -> None:
        blob = layout.blob_path(root, SHA)
        blob.parent.mkdir()
        blob.write_bytes(b"sent here")
        pieces = {"name": "sent", "blob": SHA}, {"name": "in-place_1", **in_place(piece)}
        jobs.start(root, with_checkpoints(piece, *pieces, index=3))
        folder = root / "jobs" / JOB / "in" / "checkpoints" / "3"
        assert sorted(path.name for path in folder.iterdir()) == ["in-place_1", "sent"]
        assert (folder / "sent").samefile(blob)
        assert (folder / "in-place_1").readlink() == piece

    @pytest.mark.parametrize("change", [{"size": 3}, {"mtime_ns": 3}, {"path": "/nowhere"}])
    def test_a_piece_that_is_not_what_it_was_is_left_out(self, root: Path, piece: Path, change: dict[str, Any]) -> None:
        changed = {"name": "changed", **in_place(piece), **change}
        jobs.start(root, with_checkpoints(piece, changed, {"name": "same", **in_place(piece)}))
        assert [path.name for path in (root / "jobs" / JOB).glob("in/checkpoints/0/*")] == ["same"]

    def test_a_blob_that_is_no_longer_here_has_to_be_sent_again(self, root: Path, piece: Path) -> None:
        with pytest.raises(layout.RunnerError, match="sent again"):
            jobs.start(root, with_checkpoints(piece, {"name": "sent", "blob": SHA}))
        assert list((root / "jobs").iterdir()) == []

    @pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "A", "-a", ".a", "a\n", "a" * 65, "ä", 7, None])
    def test_a_name_that_is_none_makes_no_job(self, root: Path, piece: Path, name: object) -> None:
        with pytest.raises(ValueError, match="not a checkpoint"):
            jobs.start(root, with_checkpoints(piece, {"name": name, **in_place(piece)}))
        assert list((root / "jobs").iterdir()) == []

    def test_no_two_pieces_have_one_name(self, root: Path, piece: Path) -> None:
        twice = {"name": "piece", **in_place(piece)}
        with pytest.raises(ValueError, match="two files"):
            jobs.start(root, with_checkpoints(piece, twice, twice))


class TestScript:
    @pytest.fixture(autouse=True)
    def _in_the_job_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "job").mkdir()
        monkeypatch.chdir(tmp_path / "job")

    @pytest.fixture
    def said(self) -> io.StringIO:
        return io.StringIO()

    @pytest.fixture
    def job(self, said: io.StringIO) -> _job.Job:
        """A job of the items 0 and 2, of which 2 has a piece already."""
        Path("in/checkpoints/2").mkdir(parents=True)
        Path("in/checkpoints/2/before").write_bytes(b"made before")
        Path("in/checkpoints/2/gone").symlink_to("/nowhere")
        return _job.Job({"params": {}, "items": [{"index": 0, "input": "in/0"}, {"index": 2, "input": "in/2"}]}, said)

    def test_a_script_finds_the_pieces_of_each_item(self, job: _job.Job) -> None:
        first, second = job.items
        assert first.checkpoints == {}
        assert {name: path.read_bytes() for name, path in second.checkpoints.items()} == {"before": b"made before"}

    def test_a_saved_piece_is_moved_and_then_told_of(self, job: _job.Job, said: io.StringIO, piece: Path) -> None:
        content = piece.read_bytes()
        place = job.checkpoint(job.items[0], "piece-1", piece)
        assert place == Path("out/0/checkpoints/piece-1")
        assert place.read_bytes() == content
        assert not piece.exists()
        told = {"type": "checkpoint", "index": 0, "name": "piece-1"}
        assert json.loads(said.getvalue()) == {**told, "size": len(content), "sha256": sha256(content).hexdigest()}

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_a_piece_that_cannot_be_saved_is_not_half_saved(
        self, job: _job.Job, said: io.StringIO, piece: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(OSError, match="Input/output"):
            job.checkpoint(job.items[0], "piece", piece)
        assert not Path("out/0/checkpoints/piece").exists()
        assert said.getvalue() == ""

    def test_a_piece_saved_again_takes_the_place_of_the_first(self, job: _job.Job, piece: Path) -> None:
        job.checkpoint(job.items[0], "piece", piece)
        piece.write_bytes(b"another")
        assert job.checkpoint(job.items[0], "piece", piece).read_bytes() == b"another"

    @pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", ".a", "a\n", "a" * 65, "ä"])
    def test_a_name_that_is_none_is_refused_here_already(self, job: _job.Job, piece: Path, name: str) -> None:
        with pytest.raises(ValueError, match="not a checkpoint's name"):
            job.checkpoint(job.items[0], name, piece)
        assert piece.exists()
