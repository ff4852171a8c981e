"""`offload cache`: results that are kept to be had again, how much room they take, and being rid of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from broker.broker import Broker
from broker.keeping import results
from broker.result_rows import Result
from broker.results import Results
from broker.settings import read_size
from services.base.output import print_document
from services.base.text import plain
from services.base.through import opened


class Size(click.ParamType[int]):
    """So many bytes: `20G`, `500M`, `1.5T`, or a plain number."""

    name = "20G|500M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        try:
            return read_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(help="Results that are kept, so that the same request again is answered at once.")
def cache() -> None:
    """Verbs on what is kept."""


@cache.command(help="Say how many results are kept, and how much room they and the rest of the cache take.")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def show(as_json: bool) -> None:
    """Show what is kept."""
    with opened() as broker:
        found = _found(broker)
    if as_json:
        print_document(found)
        return
    for line in _lines(found):
        print(line)


def _found(broker: Broker) -> dict[str, Any]:
    kept, folder = _here(broker), broker.settings.cache_dir
    counts, sizes = Counter(one.service for one in kept), Counter[str]()
    for one in kept:
        sizes[one.service] += one.size
    return {
        "folder": str(_kept(broker).folder),
        "results": len(kept),
        "bytes": _room(kept),
        "most_bytes": broker.settings.result_bytes,
        "oldest": min((one.origin.at for one in kept), default=None),
        "services": {name: {"results": counts[name], "bytes": sizes[name]} for name in sorted(counts)},
        "prepared_bytes": _bytes(folder / "prepared"),
        "models_bytes": _bytes(folder / "local" / "models"),
    }


def _kept(broker: Broker) -> Results:
    return results(broker.settings, broker.journal)


def _here(broker: Broker) -> list[Result]:
    kept = _kept(broker)
    return kept.here(kept.rows.all())


def _room(kept: Iterable[Result]) -> int:
    """The bytes of their files: each counts once, however many results it is part of."""
    return sum({sha256: size for one in kept for size, sha256 in one.files.values()}.values())


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _lines(found: dict[str, Any]) -> Iterator[str]:
    most = f"of {_amount(found['most_bytes'])}" if found["most_bytes"] else "none are kept: OFFLOAD_RESULT_BYTES is 0"
    yield f"results\t{found['results']}\t{_amount(found['bytes'])}\t{most}"
    for name, part in found["services"].items():
        yield f"  {plain(name)}\t{part['results']}\t{_amount(part['bytes'])}"
    if found["oldest"] is not None:
        yield f"oldest\t{time.strftime('%Y-%m-%d %H:%M', time.localtime(found['oldest']))}"
    prepared, models = _amount(found["prepared_bytes"]), _amount(found["models_bytes"])
    yield f"apart from these\tprepared inputs {prepared}\tmodels {models}"


def _amount(size: int) -> str:
    for bytes_, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


@cache.command(help="Delete the results that were used least recently, until no more than --max is left.")
@click.option("--max", "most", type=Size(), help="how much stays  [default: as much as the setting result_bytes]")
@click.option("--dry-run", is_flag=True, help="say what would be deleted, and delete nothing")
def gc(most: int | None, dry_run: bool) -> None:
    """Delete what was used least recently."""
    with opened() as broker:
        kept = _kept(broker)
        freed = kept.sweep(kept.most if most is None else most, pretend=dry_run)
        left = _room(_here(broker)) - (freed.bytes if dry_run else 0)
    done = "would be deleted" if dry_run else "deleted"
    print(f"{freed.results} results, {_amount(freed.bytes)}, {done}; {_amount(left)} left")
