"""Say in words what a clip or a picture shows: `python -m services.caption clip.mp4`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from broker.errors import UsageError
from broker.models import catalogue
from broker.models.pin import HUB, PATH
from services.base import amount
from services.base.compare import Comparison
from services.base.service import Listed, Params, Service
from services.base.suffixes import CLIPS, PICTURES

CLOSE_SHARE, CLOSE_SECONDS = 0.0, 0.0
"""A close result has the same words of the same frames: in a caption of ten there is none to spare."""

COMMIT = re.compile(r"[0-9a-f]{40}")
SHOWN = 120  # characters of a description that a line has room for


class Caption(Params):
    """Parameters of caption."""

    frames: Annotated[int, Field(ge=1, le=1000, description="how many frames, evenly spaced")] = 3
    model: Annotated[
        str, Field(description="name (see `offload models ls --service caption`), OWNER/NAME[@REVISION], or a folder")
    ] = "blip-base"
    format: Annotated[
        Annotated[tuple[Literal["json", "txt"], ...], Listed] | None,
        Field(
            description="json (a caption each with its time, and all as one text), txt (that text alone) or json,txt"
            "  [default: as the output is named, else json]",
            json_schema_extra={"short": "-f"},
        ),
    ] = None
    trust_remote_code: Annotated[
        bool, Field(description="let a model run code of its own, such as Moondream's; name its revision, too")
    ] = False
    threads: Annotated[int, Field(ge=0, le=1024, description="processor threads; 0 is all cores but one")] = 0

    @model_validator(mode="after")
    def _model_is_known(self) -> Self:
        entry = self.entry
        if entry.trust_remote_code and not self.trust_remote_code:
            raise UsageError(f"{entry.name} runs code of its own, which nobody here has looked at", _trusting(entry))
        if self.trust_remote_code and not _is_pinned(entry):
            raise UsageError(
                "whose code is trusted must be named to the commit: it may change tomorrow", _trusting(entry)
            )
        return self

    @property
    def entry(self) -> catalogue.Entry:
        """What is known of the model. Raises UsageError when there is none of that name."""
        return catalogue.find("caption", self.model)

    def for_script(self) -> dict[str, Any]:
        """The script is told a model's name for the result, not where it lies."""
        entry = self.entry
        name = Path(entry.source).name if entry.placed else self.model
        return super().for_script() | {"model": name}

    def for_preparation(self) -> dict[str, Any]:
        """Frames are sized here as the model's own preprocessor would."""
        return {"count": self.frames, "frame": self.entry.frame}

    def models(self) -> dict[str, str]:
        """One model."""
        return {"model": self.entry.source}


def _is_pinned(entry: catalogue.Entry) -> bool:
    return entry.source.startswith(PATH) or bool(COMMIT.fullmatch(entry.source.partition("@")[2]))


def _trusting(entry: catalogue.Entry) -> str:
    repository = entry.source.removeprefix(HUB).partition("@")[0]
    commits = f"https://huggingface.co/{repository}/commits"
    return f"--trust-remote-code --model {repository}@COMMIT, with the 40 digits of one you have looked at: {commits}"


def _outputs(dest: Path, params: Caption) -> Mapping[str, Path]:
    formats = params.format or (_format(dest),)
    return {f"captions.{format_}": dest.with_suffix(f".{format_}") for format_ in formats}


def _options(dest: Path) -> Mapping[str, Any]:
    return {"format": _format(dest)}


def _format(dest: Path) -> str:
    return dest.suffix.lower().removeprefix(".")


def _describe(measured: Mapping[str, Any]) -> str:
    return textwrap.shorten(str(measured["description"]), SHOWN, placeholder=" ...")


def _compare(one: Path, other: Path) -> Comparison:
    from services.base.compare import texts

    return texts.compare(one, other, CLOSE_SHARE, CLOSE_SECONDS)


SERVICE = Service(
    name="caption",
    summary="Say in words what a clip or a picture shows.",
    params=Caption,
    script="caption.py",
    accepts=CLIPS | PICTURES,
    makes=(".json", ".txt"),
    label="captions",
    outputs=_outputs,
    options=_options,
    prepare="extract_frames.py",
    describe=_describe,
    contract="close",
    compare=_compare,
    unit="pictures",
    amount=lambda source, params: amount.pictures(source, count=params.frames),
)


if __name__ == "__main__":
    from services.base.command import main

    main(SERVICE)
