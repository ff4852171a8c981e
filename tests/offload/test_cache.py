"""`offload cache`, and the same request typed again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click import BadParameter

from broker import settings
from broker.broker import Broker
from offload.cache import Size
from tests.services.typed import fake, offload

SIZE = ("--size", "1000")


@pytest.fixture(autouse=True)
def _on(offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", "100000")


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.dat" for number in range(3)]
    for number, path in enumerate(found):
        path.write_bytes(b"%d" % number)
    return found


def folder(offload_dirs: Path) -> list[Path]:
    return list((offload_dirs / "cache" / "results").iterdir())


def test_the_same_typed_again_is_answered_and_says_so(inputs: list[Path], tmp_path: Path) -> None:
    fake(tmp_path, inputs[0], "-o", "a.bin", *SIZE)
    said = fake(tmp_path, inputs[0], "-o", "b.bin", *SIZE)
    assert said.code == 0
    assert "the same was made before (job " in said.err
    assert "--no-cache makes it anew" in said.err
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    document = fake(tmp_path, inputs[0], "-o", "c.bin", *SIZE, "--json").document
    assert [attempt["target"] for attempt in document["attempts"]] == ["cache"]
    shown = offload(tmp_path, "jobs", "show", document["job"]).out.decode()
    assert "done on cache" in shown
    assert "the same was made before: job " in shown


def test_no_cache_makes_it_anew(inputs: list[Path], tmp_path: Path) -> None:
    fake(tmp_path, inputs[0], "-o", "a.bin", *SIZE)
    document = fake(tmp_path, inputs[0], "-o", "b.bin", *SIZE, "--no-cache", "--json").document
    assert [attempt["target"] for attempt in document["attempts"]] == ["local"]


def test_it_replaces_what_was_there_only_where_told(inputs: list[Path], tmp_path: Path) -> None:
    fake(tmp_path, inputs[0], "-o", "a.bin", *SIZE)
    assert fake(tmp_path, inputs[0], "-o", "a.bin", *SIZE).code == 2
    right = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(b"mine")
    assert fake(tmp_path, inputs[0], "-o", "a.bin", *SIZE, "--overwrite").code == 0
    assert (tmp_path / "a.bin").read_bytes() == right


def test_what_is_kept_is_shown(inputs: list[Path], tmp_path: Path, offload_dirs: Path) -> None:
    fake(tmp_path, *inputs, *SIZE)
    (offload_dirs / "cache/prepared/x").mkdir(parents=True)
    (offload_dirs / "cache/prepared/x/short.dat").write_bytes(b"12345")
    found = offload(tmp_path, "cache", "show", "--json").document
    assert found["oldest"] > 1.7e9
    assert {name: found[name] for name in ("results", "bytes", "most_bytes", "prepared_bytes", "models_bytes")} == {
        "results": 3,
        "bytes": 3000,
        "most_bytes": 100_000,
        "prepared_bytes": 5,
        "models_bytes": 0,
    }
    assert found["services"] == {"fake": {"results": 3, "bytes": 3000}}
    shown = offload(tmp_path, "cache", "show").out.decode().splitlines()
    assert shown[:2] == ["results\t3\t3.0 kB\tof 100.0 kB", "  fake\t3\t3.0 kB"]
    assert shown[-1] == "apart from these\tprepared inputs 5 bytes\tmodels 0 bytes"


def test_nothing_is_shown_of_an_empty_one(tmp_path: Path) -> None:
    assert offload(tmp_path, "cache", "show").out.decode().splitlines()[0] == "results\t0\t0 bytes\tof 100.0 kB"
    off = offload(tmp_path, "cache", "show", env={"OFFLOAD_RESULT_BYTES": "0"})
    assert "none are kept" in off.out.decode()


def test_what_somebody_deleted_is_neither_shown_nor_deleted_again(
    inputs: list[Path], tmp_path: Path, offload_dirs: Path
) -> None:
    fake(tmp_path, *inputs, *SIZE)
    folder(offload_dirs)[0].unlink()
    assert offload(tmp_path, "cache", "show").out.decode().startswith("results\t2\t2.0 kB\t")
    shutil.rmtree(offload_dirs / "cache/results")
    assert offload(tmp_path, "cache", "show").out.decode().startswith("results\t0\t0 bytes\t")
    for how in (["--dry-run"], []):
        assert offload(tmp_path, "cache", "gc", *how).out.startswith(b"0 results, 0 bytes, ")


def test_gc_deletes_the_least_recently_used(inputs: list[Path], tmp_path: Path, offload_dirs: Path) -> None:
    fake(tmp_path, *inputs, *SIZE)
    with Broker(settings.load()) as broker:  # it is not told to the second when a result was used
        broker.journal._db.execute("UPDATE results SET used = used - 100")
    fake(tmp_path, inputs[0], "-o", "again.bin", *SIZE)
    pretended = offload(tmp_path, "cache", "gc", "--max", "1K", "--dry-run")
    assert pretended.out == b"2 results, 2.0 kB, would be deleted; 1.0 kB left\n"
    assert len(folder(offload_dirs)) == 3
    assert offload(tmp_path, "cache", "gc", "--max", "1K").out == b"2 results, 2.0 kB, deleted; 1.0 kB left\n"
    assert [path.read_bytes() for path in folder(offload_dirs)] == [(tmp_path / "again.bin").read_bytes()]
    document = fake(tmp_path, inputs[0], "-o", "third.bin", *SIZE, "--json").document
    assert [attempt["target"] for attempt in document["attempts"]] == ["cache"]


def test_gc_alone_holds_the_bound_of_the_setting(inputs: list[Path], tmp_path: Path) -> None:
    fake(tmp_path, *inputs, *SIZE)
    assert offload(tmp_path, "cache", "gc").out == b"0 results, 0 bytes, deleted; 3.0 kB left\n"
    lowered = offload(tmp_path, "cache", "gc", env={"OFFLOAD_RESULT_BYTES": "2000"})
    assert lowered.out == b"1 results, 1.0 kB, deleted; 2.0 kB left\n"


@pytest.mark.parametrize("size", ["many", "-1", "20X", "", "1.2.3"])
def test_what_is_no_size_is_said(size: str) -> None:
    with pytest.raises(BadParameter, match="no size: write 20G"):
        Size().convert(size, None, None)


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [("0", 0), ("2000", 2000), ("2k", 2000), ("0.002 MB", 2000), ("20G", 2 * 10**10), ("1t", 10**12)],
)
def test_sizes_are_typed_as_people_write_them(size: str, bytes_: int) -> None:
    assert Size().convert(size, None, None) == bytes_


def test_a_size_that_is_none_is_a_mistake_of_usage(tmp_path: Path) -> None:
    said = offload(tmp_path, "cache", "gc", "--max", "many")
    assert said.code == 2
    assert "no size" in said.err


def test_forgetting_a_job_leaves_its_results(inputs: list[Path], tmp_path: Path) -> None:
    job = fake(tmp_path, inputs[0], "-o", "a.bin", *SIZE, "--json").document["job"]
    offload(tmp_path, "jobs", "rm", job)
    assert json.loads(offload(tmp_path, "cache", "show", "--json").out)["results"] == 1


def test_two_in_the_background_make_it_once(inputs: list[Path], tmp_path: Path) -> None:
    words = (inputs[0], *SIZE, "--seconds", "1", "--detach")
    jobs = [fake(tmp_path, *words, "-o", f"{name}.bin").lines[0] for name in "ab"]
    assert [offload(tmp_path, "jobs", "attach", job).code for job in jobs] == [0, 0]
    receipts = [offload(tmp_path, "jobs", "show", job, "--json").document for job in jobs]
    assert sorted(attempt["target"] for one in receipts for attempt in one["attempts"]) == ["cache", "local"]
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
