"""What is written is there whole or not at all; what goes wrong has a name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from _runner import jobs, layout

from tests.remote_scripts.runner.job import JOB, request


class TestFiles:
    @pytest.mark.parametrize(("where", "step"), [(os, "fsync"), (Path, "replace")])
    def test_json_is_replaced_whole_or_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, step: str
    ) -> None:
        path = tmp_path / "status.json"
        layout.write_json(path, {"n": 1})

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(where, step, full)
        with pytest.raises(OSError, match="No space"):
            layout.write_json(path, {"n": 2})
        assert layout.read_json(path) == {"n": 1}
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["status.json"]

    def test_what_is_no_json_leaves_the_old_value(self, tmp_path: Path) -> None:
        path = tmp_path / "status.json"
        layout.write_json(path, {"n": 1})
        with pytest.raises(TypeError):
            layout.write_json(path, {"n": object()})
        assert layout.read_json(path) == {"n": 1}
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["status.json"]

    @pytest.mark.parametrize("content", [b"", b'{"state":', b"\0\0\0"])
    def test_json_that_a_power_cut_has_spoilt_is_nothing(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "status.json").write_bytes(content)
        assert layout.read_json(tmp_path / "status.json") is None

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (layout.RunnerError("changed", "x"), "changed"),
            (OSError(errno.ENOSPC, "x"), "no_space"),
            (OSError(errno.EDQUOT, "x"), "no_space"),
            (OSError(errno.EIO, "x"), "failed"),
            (ValueError("x"), "bad_request"),
            (KeyError("x"), "bad_request"),
            (RecursionError("x"), "failed"),
        ],
    )
    def test_every_error_has_a_kind(self, error: Exception, kind: str) -> None:
        assert layout.describe(error)["kind"] == kind
        assert "x" in layout.describe(error)["message"]

    def test_a_link_that_is_impossible_becomes_a_copy(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blob = layout.blob_path(root, "a" * 64)
        blob.parent.mkdir()
        blob.write_bytes(b"content")

        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
        jobs.start(root, request(inputs=[{"index": 0, "suffix": ".mp4", "blob": "a" * 64}]))
        assert (root / "jobs" / JOB / "in" / "0.mp4").read_bytes() == b"content"
