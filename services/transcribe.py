"""Write down what is said in a clip or a recording: `python -m services.transcribe talk.mp4 -f srt,vtt,json`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from broker.errors import UsageError
from broker.models import catalogue
from broker.models.pin import PATH
from services.base import amount
from services.base.compare import Comparison
from services.base.service import Listed, Params, Service
from services.base.suffixes import CLIPS

CLOSE_SHARE, CLOSE_SECONDS = 0.01, 0.2
"""How many of the words of a close transcript differ at most, and by how much its times.

Another device's rounding may turn a near tie between two words; one in a hundred is far below what a smaller model
costs. Whisper tells times in steps of 0.02 s: these are ten.
"""

AUTO, ENGLISH = "auto", "en"
TABLE = """\
en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese,
tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi, fi finnish,
vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish, hu hungarian, ta tamil,
no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin, mi maori, ml malayalam, cy welsh,
sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian, az azerbaijani, sl slovenian, kn kannada,
et estonian, mk macedonian, br breton, eu basque, is icelandic, hy armenian, ne nepali, mn mongolian, bs bosnian,
kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, pa punjabi, si sinhala, km khmer, sn shona, yo yoruba,
so somali, af afrikaans, oc occitan, ka georgian, be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic,
yi yiddish, lo lao, uz uzbek, fo faroese, ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese,
sa sanskrit, lb luxembourgish, my myanmar, bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian,
ln lingala, ha hausa, ba bashkir, jw javanese, su sundanese, yue cantonese
"""
LANGUAGES = {name.strip(): code for code, name in (pair.split(maxsplit=1) for pair in TABLE.split(","))}
"""Codes of the languages that whisper was trained on, by name."""
UNTAUGHT = ("turbo",)
"""Models that were not taught to translate: they write the language they hear, whatever they are asked for."""


class Transcribe(Params):
    """Parameters of transcribe."""

    format: Annotated[
        Annotated[tuple[Literal["txt", "srt", "vtt", "tsv", "json"], ...], Listed] | None,
        Field(
            description="which, with commas between them: srt,vtt,json  [default: as the output is named, else srt]",
            json_schema_extra={"short": "-f"},
        ),
    ] = None
    engine: Annotated[
        Literal["whisper", "faster-whisper"],
        Field(description="whisper is the reference; faster-whisper runs the same models, converted"),
    ] = "whisper"
    model: Annotated[
        str,
        Field(
            description="tiny, base, small, medium, large-v3 or turbo; the first four also as base.en, for English"
            " alone; or a path: a .pt file, or a folder for faster-whisper"
        ),
    ] = "base"
    language: Annotated[str, Field(description="what is spoken: a code or a name; auto listens")] = AUTO
    translate: Annotated[bool, Field(description="write it in English, whatever is spoken")] = False
    word_timestamps: Annotated[bool, Field(description="in json, the times of each word, too")] = False
    vad: Annotated[bool, Field(description="listen only where there is a voice: against words made up in noise")] = (
        False
    )
    initial_prompt: Annotated[
        str | None, Field(max_length=2000, description="text that might stand before it: names, spellings, a style")
    ] = None
    beam_size: Annotated[
        int, Field(ge=1, le=20, description="how many wordings are followed at a time; 1 is the fastest")
    ] = 1
    compute_type: Annotated[
        Literal["float32", "float16", "bfloat16", "int8_float32", "int8_float16", "int8_bfloat16"],
        Field(description="what faster-whisper computes with, on every machine; int8 is fast, and errs more"),
    ] = "float32"
    threads: Annotated[int, Field(ge=0, le=1024, description="processor threads; 0 is all cores but one")] = 0
    window: Annotated[
        int, Field(ge=30, le=3600, description="seconds of sound done at a time: none is ever done twice")
    ] = 300

    @field_validator("format")
    @classmethod
    def _some_formats(cls, formats: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if formats == ():
            raise ValueError("name at least one of txt, srt, vtt, tsv and json")
        return formats and tuple(dict.fromkeys(formats))

    @field_validator("language")
    @classmethod
    def _code(cls, language: str) -> str:
        """The code of a language, by its code or name."""
        word = language.strip().lower()
        if word in (AUTO, *LANGUAGES.values()):
            return word
        if word in LANGUAGES:
            return LANGUAGES[word]
        near = get_close_matches(word, [*LANGUAGES, *LANGUAGES.values()], 3, 0.5) or ["english", "german", "spanish"]
        raise ValueError(f"whisper knows no such language; near it: {', '.join(near)}; auto listens")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model.endswith(".en") and self.language not in (AUTO, ENGLISH):
            raise UsageError(f"{self.model} knows English only", f"--model {self.model.removesuffix('.en')}")
        if self.translate and self.model.endswith(".en"):
            raise UsageError(f"{self.model} knows English only: there is nothing to translate", "leave out --translate")
        if self.translate and self.model in UNTAUGHT:
            raise UsageError(f"{self.model} was not taught to translate", "--model medium")
        if self.engine == "whisper" and self.compute_type != "float32":
            raise UsageError("engine whisper computes in float32", "--engine faster-whisper --compute-type ...")
        _check_form(self.entry.source, self.engine)
        return self

    @property
    def entry(self) -> catalogue.Entry:
        """What is known of the model. Raises UsageError when there is none of that name."""
        return catalogue.find("transcribe", self.model, self.engine)

    def for_script(self) -> dict[str, Any]:
        """The script is told a model's name for the result, not where it lies."""
        entry = self.entry
        name = Path(entry.source).name if entry.placed else self.model
        return super().for_script() | {"model": name, "initial_prompt": (self.initial_prompt or "").strip()}

    def models(self) -> dict[str, str]:
        """One model."""
        return {"model": self.entry.source}


def _check_form(source: str, engine: str) -> None:
    """Raise UsageError when a path is a model of the other engine's."""
    path = Path(source.removeprefix(PATH))
    if not source.startswith(PATH):
        return
    if engine == "whisper" and path.is_dir() and not any(path.glob("*.pt")):
        raise UsageError(f"{path} has no .pt file, which engine whisper wants", "--engine faster-whisper")
    if engine == "faster-whisper" and not (path / "model.bin").is_file():
        raise UsageError(
            f"{path} is no folder with a model.bin, which engine faster-whisper wants",
            "--engine whisper, for a .pt file",
        )


def _outputs(dest: Path, params: Transcribe) -> Mapping[str, Path]:
    formats = params.format or (_format(dest),)
    return {f"transcript.{format_}": dest.with_suffix(f".{format_}") for format_ in formats}


def _options(dest: Path) -> Mapping[str, Any]:
    return {"format": _format(dest)}


def _format(dest: Path) -> str:
    return dest.suffix.lower().removeprefix(".")


def _extras(params: Transcribe) -> tuple[str, ...]:
    return (params.engine,)


def _describe(measured: Mapping[str, Any]) -> str:
    if not measured["cues"]:
        return "no speech found"
    names = {code: name for name, code in LANGUAGES.items()}
    return f"{measured['words']} words, {names.get(measured['language'], 'in a language unknown here')}"


def _compare(one: Path, other: Path) -> Comparison:
    from services.base.compare import texts

    return texts.compare(one, other, CLOSE_SHARE, CLOSE_SECONDS)


SERVICE = Service(
    name="transcribe",
    summary="Write down what is said in a clip or a recording.",
    params=Transcribe,
    script="transcribe.py",
    accepts=frozenset(
        CLIPS
        | {".mp3", ".m4a", ".m4b", ".aac", ".wav", ".flac", ".ogg", ".oga", ".opus", ".mka", ".aiff", ".aif", ".caf"}
    ),
    makes=(".srt", ".vtt", ".txt", ".tsv", ".json"),
    label="",
    outputs=_outputs,
    options=_options,
    extras=_extras,
    prepare="extract_sound.py",
    describe=_describe,
    contract="close",
    compare=_compare,
    unit="seconds",
    amount=lambda source, params: amount.seconds(source),
)


if __name__ == "__main__":
    from services.base.command import main

    main(SERVICE)
