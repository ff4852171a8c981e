"""Hearing with openai-whisper: the reference engine.

The package comes with its vocabularies, and is given samples, not files: it needs neither a network nor ffmpeg.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _torch
from _hearing import NO_BATCH, SEED, TEMPERATURES, BadModel, Heard
from _windows import Window, stretches

FRAMES = 100  # a second: what whisper counts its progress in
LISTENED = 480_000  # samples: what it takes to tell a language, and as much as it looks at


class Engine:
    """A model loaded from a checkpoint (`.pt`) of openai-whisper."""

    def __init__(self, folder: Path, params: dict[str, Any], ease: int) -> None:
        with _torch.needing("transcribe"):
            self._device = _torch.ready(params["threads"], NO_BATCH * ease)
            self._whisper = importlib.import_module("whisper")
        self._params = params
        self._model = _load(self._whisper, _checkpoint(folder), self._device)

    @property
    def english(self) -> bool:
        """Whether the model knows English only."""
        return not self._model.is_multilingual

    def knows(self, language: str) -> bool:
        """Whether the model was taught that language: a newer one knows more."""
        taught = list(self._whisper.tokenizer.LANGUAGES)[: self._model.num_languages]
        return language == "en" if self.english else language in taught

    def language(self, samples: Any) -> str:
        """Code of the language spoken in the first 30 s of `samples`."""
        if self.english:
            return "en"
        whole = self._whisper.pad_or_trim(samples, LISTENED)
        mel = self._whisper.log_mel_spectrogram(whole, self._model.dims.n_mels, device=self._device)
        _, probabilities = self._model.detect_language(mel)
        return str(max(probabilities, key=probabilities.get))

    def stretches(self, window: Window) -> list[tuple[float, float]]:
        """Where it is louder than the background: this engine comes with no model of voices."""
        return stretches(window.samples)

    def hear(
        self,
        samples: Any,
        language: str,
        prompt: str,
        within: Sequence[tuple[float, float]] | None,
        tell: Callable[[float], None],
    ) -> list[Heard]:
        """The segments heard in `samples`, or only in the stretches `within`."""
        self._seed()
        with _progress(tell), _torch.needing("transcribe"):
            found = self._model.transcribe(
                samples,
                language=language,
                task="translate" if self._params["translate"] else "transcribe",
                temperature=TEMPERATURES,
                beam_size=self._params["beam_size"] if self._params["beam_size"] > 1 else None,
                initial_prompt=prompt or None,
                word_timestamps=self._params["word_timestamps"],
                clip_timestamps="0" if within is None else [time for stretch in within for time in stretch],
                fp16=False,
            )
        return [_heard(segment) for segment in found["segments"] if segment["text"].strip()]

    def versions(self) -> dict[str, str]:
        """What decided the result."""
        return {**_torch.versions(self._device), "openai-whisper": self._whisper.__version__}

    def _seed(self) -> None:
        import torch

        torch.manual_seed(SEED)


def _checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob("*.pt"))
    if len(found) != 1:
        files = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise BadModel(
            f"engine whisper wants a model of one .pt file, and there is {files};"
            " a folder converted for CTranslate2 wants --engine faster-whisper"
        )
    return found[0]


def _load(whisper: Any, path: Path, device: str) -> Any:
    import torch

    try:
        model = whisper.load_model(str(path), device)  # with weights_only: no program in it is run
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a file that is no such checkpoint fails as it pleases
        raise BadModel(
            f"the model {path.name} cannot be loaded ({type(error).__name__}):"
            " it is damaged, or not a checkpoint of whisper, or holds more than weights"
        ) from error
    _align(whisper, model, path.stem)
    return model.eval()


def _align(whisper: Any, model: Any, name: str) -> None:
    """Tell a published model which of its heads follow the words, as loading it by its name would."""
    if name in whisper._ALIGNMENT_HEADS:
        with suppress(RuntimeError):  # a file of that name that is another model
            model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])


@contextmanager
def _progress(tell: Callable[[float], None]) -> Iterator[None]:
    """Have `tell` told how far `transcribe` is: it says so to a progress bar, and to nothing else."""
    module = importlib.import_module("whisper.transcribe")
    drawn = module.tqdm  # type: ignore[attr-defined]
    module.tqdm = SimpleNamespace(tqdm=lambda **_: _Bar(tell))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.tqdm = drawn  # type: ignore[attr-defined]


class _Bar:
    """What `transcribe` takes for its progress bar."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell, self._frames = tell, 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was drawn."""

    def update(self, frames: int) -> None:
        """Go on by so many frames."""
        self._frames += frames
        self._tell(self._frames / FRAMES)


def _heard(segment: dict[str, Any]) -> Heard:
    words = (
        (float(word["start"]), float(word["end"]), word["word"], float(word["probability"]))
        for word in segment.get("words", ())
    )
    return Heard(
        start=float(segment["start"]),
        end=float(segment["end"]),
        text=segment["text"],
        words=tuple(words),
        temperature=float(segment["temperature"]),
        avg_logprob=float(segment["avg_logprob"]),
        no_speech_prob=float(segment["no_speech_prob"]),
        compression_ratio=float(segment["compression_ratio"]),
        seek=int(segment["seek"]),
        tokens=tuple(segment["tokens"]),
    )
