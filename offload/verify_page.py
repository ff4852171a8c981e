"""The report of `offload verify`: one file that asks for nothing else, with the outputs side by side."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from offload.verified import Pair, Verified
from services.base.compare import Level, Pictures, Scores, Texts, Unreadable, texts
from services.base.text import plain

SCORE_DIGITS = 4
MOST_DRAWN = 20
"""Outputs whose pictures are in the report: each takes some megabytes. Those that differ most come first."""


def page(found: Verified) -> str:
    """Make the report while the outputs are still there."""
    style, script = _part("verify_page.css"), _part("verify_page.js")
    # What came from elsewhere is escaped; were some not, a browser would neither run nor fetch it.
    policy = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    drawn = [pair for pair in found.pairs if isinstance(pair.found.exhibit, Pictures)]
    chosen = {*map(id, sorted(drawn, key=_by_level)[:MOST_DRAWN])}
    sections = "\n".join(_section(pair, id(pair) in chosen) for pair in found.pairs)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>verify {_text(found.service.name)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"{_verdict(found)}\n{sections}\n{_failures(found)}{_versions(found)}</main>\n<script>{script}</script>\n"
        "</body>\n</html>\n"
    )


def _part(name: str) -> str:
    return files("offload").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text(value: object) -> str:
    return escape(plain(value))


def _verdict(found: Verified) -> str:
    targets = _text(" and ".join(run.target for run in found.runs))
    kept = "kept" if found.kept else "not kept"
    level = "nothing to compare" if found.level is None else str(found.level)
    return (
        f"<h1>{_text(found.service.name)} on {targets}</h1>\n"
        f'<p>Reached: <strong class="{_class(found.level)}">{level}</strong>.'
        f" It promises <em>{_text(found.service.contract)}</em>, which is {kept}.</p>"
    )


def _class(level: Level | None) -> str:
    return "different" if level is None else str(level)


def _by_level(pair: Pair) -> Level:
    return pair.found.level


def _section(pair: Pair, drawn: bool) -> str:
    level = f'<strong class="{_class(pair.found.level)}">{pair.found.level}</strong>'
    name = f" <small>{_text(pair.name)}</small>" if pair.name else ""
    head = f"<h2>{_text(pair.source.name)}{name}</h2>\n<p>{level}: {_text(pair.found.sentence)}</p>"
    return f"<section>\n{head}\n{_exhibit(pair, drawn)}{_figures(pair)}</section>"


def _exhibit(pair: Pair, drawn: bool) -> str:
    match pair.found.exhibit:
        case Pictures() as pictures:
            return _pictures(pair, pictures) if drawn else "<p>Others differ more, and are drawn.</p>\n"
        case Texts() as found:
            return _texts(pair, found)
        case Scores() as scores:
            return _scores(pair, scores)
    return ""


def _pictures(pair: Pair, pictures: Pictures) -> str:
    from services.base.compare.media import stills

    numbers = [frame.number for frame in pictures.frames]
    try:
        sides = [stills(path, numbers) for path in pair.paths or ()]
    except Unreadable as error:
        return f"<p>{_text(error)}</p>\n"
    return "".join(
        _slider(pair, f"frame {frame.number}, {frame.seconds:.3f} s{_decibels(frame.decibels)}", one, other)
        for frame, one, other in zip(pictures.frames, *sides, strict=False)
    )


def _decibels(value: float | None) -> str:
    return "" if value is None else f", {value:.2f} dB"


def _slider(pair: Pair, words: str, one: bytes, other: bytes) -> str:
    """Two pictures, one over the other, and how far the upper one is uncovered. Arrow keys move it."""
    ours, theirs = map(_text, pair.targets)
    label = f"left {ours}, right {theirs}"
    return (
        f'<figure>\n<div class="pictures">{_image(other, f"{theirs}: {words}")}'
        f'<div class="upper">{_image(one, f"{ours}: {words}")}</div></div>\n'
        f'<label>{ours} <input type="range" min="0" max="100" value="50" aria-label="{label}"> {theirs}</label>\n'
        f"<figcaption>{words}</figcaption>\n</figure>\n"
    )


def _image(png: bytes, words: str) -> str:
    return f'<img alt="{words}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _texts(pair: Pair, found: Texts) -> str:
    """Both texts, with the words that differ marked."""
    words = [[word for line in lines for word in line.split()] for lines in (found.one, found.other)]
    differing = texts.differing(*words)
    sides = (("del", found.one, differing.one), ("ins", found.other, differing.other))
    columns = "".join(
        f'<div><h3>{_text(target)}</h3><div class="text" tabindex="0">{"".join(_marked(*side))}</div></div>\n'
        for target, side in zip(pair.targets, sides, strict=True)
    )
    return f'<div class="columns">\n{columns}</div>\n'


def _marked(tag: str, lines: Sequence[str], differing: frozenset[int]) -> Iterator[str]:
    place = 0
    for line in lines:
        marked = []
        for word in line.split():
            marked.append(f"<{tag}>{_text(word)}</{tag}>" if place in differing else _text(word))
            place += 1
        yield f"<p>{' '.join(marked)}</p>\n"


def _scores(pair: Pair, scores: Scores) -> str:
    rows = (
        (word, _score(one), _score(other), _score(None if None in (one, other) else (other or 0) - (one or 0)))
        for word, one, other in scores.rows
    )
    return _table(("", *pair.targets, "difference"), rows)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.{SCORE_DIGITS}f}"


def _figures(pair: Pair) -> str:
    rows = ((name.replace("_", " "), json.dumps(value)) for name, value in pair.found.figures.items())
    return f"<details><summary>Figures</summary>\n{_table(('', ''), rows)}</details>\n" if pair.found.figures else ""


def _failures(found: Verified) -> str:
    rows = [(item.source.name, run.target, item.error) for run in found.runs for item in run.items if item.kind]
    return f"<h2>Not made</h2>\n{_table(('input', 'target', ''), rows)}" if rows else ""


def _versions(found: Verified) -> str:
    rows = [(name, *("-" if value is None else value for value in values)) for name, values in found.versions.items()]
    if not rows:
        return "<h2>Versions</h2>\n<p>All that is told of them is equal.</p>\n"
    return f"<h2>Versions that differ</h2>\n{_table(('', *(run.target for run in found.runs)), rows)}"


def _table(head: Sequence[object], rows: Iterable[Sequence[Any]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    names = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    first = f"<thead><tr>{names}</tr></thead>\n" if any(head) else ""
    return f'<div class="wide" tabindex="0"><table>\n{first}<tbody>\n{body}</tbody></table></div>\n'
