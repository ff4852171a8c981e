"""Say what clips and pictures show: `python -m services.tag clip.mp4 --top 10`."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from broker.errors import InputError
from broker.models import catalogue
from broker.models.pin import PATH
from services.base import amount
from services.base.compare import Comparison
from services.base.service import Params, Service
from services.base.suffixes import CLIPS, PICTURES

CLOSE_COSINE, CLOSE_SCORE = 0.9999, 0.02
"""The cosine that no frame of a close result is below, and by how much a word's score may differ.

Devices differ by about 1e-4 of a number, and float16, in which directions are told, by 5e-4: cosines above 0.999999.
Scores are sharper, by softmax of cosine / 0.01: one of a half moves by 0.005 where its cosine does by 2e-4.
"""

VOCABULARY = Path(__file__).with_name("vocabulary.toml")
KINDS = ("tags", "moods")
VOCABULARY_BYTES = 1_000_000  # at most; ours has 6 thousand
AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
HEADER = re.compile(r"\s*\[\s*(\w+)\s*\]")


class Tag(Params):
    """Parameters of tagging."""

    top: Annotated[int, Field(ge=1, le=1000, description="how many tags to tell")] = 10
    fps: Annotated[float, Field(ge=0.01, le=60, description="pictures of a clip to look at, a second")] = 1.0
    model: Annotated[str, Field(description="name, OWNER/NAME[@REVISION] or folder of an open_clip model")] = "ViT-B-32"
    vocabulary: Annotated[Path | None, Field(description="TOML of tags and moods to look for instead of ours")] = None
    extend: Annotated[bool, Field(description="look for the vocabulary's tags and moods beside ours")] = False
    threads: Annotated[int, Field(ge=0, le=1024, description="threads of the processor; 0: all but one")] = 0

    @field_validator("vocabulary")
    @classmethod
    def _vocabulary_is_one(cls, path: Path | None) -> Path | None:
        if path is not None and (mistake := next(mistakes(path), "")):
            raise ValueError(mistake)
        return path and path.absolute()

    @field_validator("extend")
    @classmethod
    def _something_extends(cls, extend: bool, info: ValidationInfo) -> bool:
        if extend and "vocabulary" in info.data and info.data["vocabulary"] is None:
            raise ValueError("it goes with --vocabulary FILE")
        return extend

    @model_validator(mode="after")
    def _model_is_known(self) -> Self:
        assert self._entry
        return self

    def for_script(self) -> dict[str, Any]:
        """The script is told what to call its model; where models and vocabularies lie, the broker says."""
        source = self._entry.source
        own = source.startswith(PATH)
        told = {name: getattr(self, name) for name in ("top", "fps", "threads")}
        return told | {"model": Path(source).name if own else self._entry.name, "source": "" if own else source}

    def for_preparation(self) -> dict[str, Any]:
        """As many pictures, and as large, as the model looks at."""
        return {"fps": self.fps, "frame": self._entry.frame or _frame(self._entry.source)}

    def models(self) -> dict[str, str]:
        """The model, and what it is to look for."""
        words = [VOCABULARY] if self.vocabulary is None else [self.vocabulary]
        if self.extend:
            words = [VOCABULARY, *words]
        roles = zip(("vocabulary", "additions"), words, strict=False)
        return {"model": self._entry.source, **{role: f"{PATH}{path}" for role, path in roles}}

    @property
    def _entry(self) -> catalogue.Entry:
        return catalogue.find("tag", self.model)


def _frame(source: str) -> str:
    """How a folder of the user's says that its model wants pictures sized; empty where it does not."""
    try:
        config = json.loads(Path(source.removeprefix(PATH), "open_clip_config.json").read_text("utf-8"))
        size, mode = config["preprocess_cfg"]["size"], config["preprocess_cfg"].get("resize_mode", "shortest")
    except (OSError, ValueError, TypeError, KeyError):  # the script says what is wrong with the model
        return ""
    if isinstance(size, list):
        height, width = size
        return f"{width}x{height}" if mode == "squash" else str(width) if width == height else ""
    return f"{size}x{size}" if mode == "squash" else str(size)


def mistakes(path: Path) -> Iterator[str]:
    """What is wrong with a vocabulary, each as `FILE:LINE: what`."""
    try:
        text = _text(path)
        found = tomllib.loads(text)
    except InputError as error:
        yield f"{path}: {error}"
    except OSError as error:
        yield f"{path}: it cannot be read: {(error.strerror or str(error)).lower()}"
    except UnicodeDecodeError:
        yield f"{path}: it is no text in UTF-8"
    except tomllib.TOMLDecodeError as error:
        at = AT_LINE.search(str(error))
        line = int(at[1]) if at else len(text.splitlines())
        yield f"{path}:{line}: {AT_LINE.sub('', str(error))}"
    else:
        for section, key, what in _mistakes(found):
            yield f"{path}:{_line(text, section, key)}: {what}"


def _text(path: Path) -> str:
    """What a vocabulary says. Raises InputError for what is none by its kind or size, before it is opened."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError("this is not a file")
    if found.st_size > VOCABULARY_BYTES:
        raise InputError(f"a vocabulary has {VOCABULARY_BYTES // 1_000_000} MB at most")
    return path.read_text("utf-8-sig")  # some editors begin a text with a mark


def _mistakes(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Section, key and description of each mistake; the section is empty for what stands before all."""
    for name, value in found.items():
        if name == "version" and not isinstance(value, str):
            yield "", name, 'the version is a text: version = "1"'
        elif name in (*KINDS, "templates") and not isinstance(value, dict):
            yield "", name, f"this is a table: [{name}]"
        elif name not in ("version", "templates", *KINDS):
            yield (
                (name if isinstance(value, dict) else ""),
                name,
                f"{name} is not known: version, templates, tags, moods",
            )
    if not found.get("tags") and not found.get("moods"):
        yield "", "", "there are no [tags] and no [moods]"
    for kind, templates in _entries(found, "templates"):
        if kind not in KINDS:
            yield "templates", kind, f"templates are for {' or '.join(KINDS)}"
        elif not _texts(templates) or not all("{}" in template for template in templates):
            yield "templates", kind, 'templates are a list of texts with {} in each: ["a photo of {}."]'
    for kind in KINDS:
        for word, phrases in _entries(found, kind):
            if not word.strip() or not _texts([phrases] if isinstance(phrases, str) else phrases):
                yield kind, word, f'{word or "it"} takes a text, or a list of texts: "a sandy beach"'


def _entries(found: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    table = found.get(name)
    return list(table.items()) if isinstance(table, dict) else []


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text.strip() for text in value)


def _line(text: str, section: str, key: str) -> int:
    """The line, from 1, on which a key of a section stands; the section's own where the key is not found."""
    name = re.compile(rf"""\s*(?:{re.escape(key)}|"{re.escape(key)}"|'{re.escape(key)}')\s*=""")
    here, header = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if begins := HEADER.match(line):
            here = begins[1]
            header = number if here == section else header
        elif here == section and name.match(line):
            return number
    return header


def _outputs(dest: Path, params: Tag) -> Mapping[str, Path]:
    return {"tags.json": dest}


def _describe(measured: Mapping[str, Any]) -> str:
    return "; ".join(words for words in (", ".join(measured["tags"]), measured["mood"]) if words)


def _compare(one: Path, other: Path) -> Comparison:
    from services.base.compare import tags

    return tags.compare(one, other, CLOSE_COSINE, CLOSE_SCORE)


SERVICE = Service(
    name="tag",
    summary="Say what clips and pictures show, in tags and moods, and make them searchable.",
    params=Tag,
    script="tag.py",
    accepts=CLIPS | PICTURES,
    makes=(".json",),
    label="tags",
    outputs=_outputs,
    prepare="extract_frames.py",
    describe=_describe,
    contract="close",
    compare=_compare,
    unit="pictures",
    amount=lambda source, params: amount.pictures(source, fps=params.fps),
)


if __name__ == "__main__":
    from services.base.command import main

    main(SERVICE)
