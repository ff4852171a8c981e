"""Hearing with faster-whisper: the same models, converted for CTranslate2.

A missing tokenizer is what the package would download: here it is an error. `compute_type` is the job's, never what a
machine prefers.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _torch
from _hearing import NO_BATCH, SEED, TEMPERATURES, BadModel, Heard
from _job import ItemError, Missing
from _windows import Window

FILES = ("model.bin", "config.json", "tokenizer.json")


class Engine:
    """A model loaded from a folder in CTranslate2's format."""

    def __init__(self, folder: Path, params: dict[str, Any], ease: int) -> None:
        with _torch.needing("faster-whisper"):
            import ctranslate2
            import faster_whisper

        self._packages = ctranslate2, faster_whisper
        self._folder, self._params = folder, params
        self._device = (
            _torch.GPU if NO_BATCH * ease < _torch.NO_GPU and ctranslate2.get_cuda_device_count() else _torch.CPU
        )
        self._threads = params["threads"] or max(1, _cores() - 1)
        _check_files(folder)
        self._check_type()
        self._model = self._load()
        self._drew = False

    @property
    def english(self) -> bool:
        """Whether the model knows English only."""
        return not self._model.model.is_multilingual

    def knows(self, language: str) -> bool:
        """Whether the model was taught that language: a newer one knows more."""
        token = self._model.hf_tokenizer.token_to_id(f"<|{language}|>")
        return language == "en" if self.english else token is not None

    def language(self, samples: Any) -> str:
        """Code of the language spoken in the first 30 s of `samples`."""
        with _errors():
            return "en" if self.english else str(self._model.detect_language(samples)[0])

    def stretches(self, window: Window) -> list[tuple[float, float]]:
        """Where somebody speaks, by the model of voices (Silero) that comes with the package."""
        from _sound import RATE
        from faster_whisper.vad import get_speech_timestamps

        found = get_speech_timestamps(window.floats())
        return [(stretch["start"] / RATE, stretch["end"] / RATE) for stretch in found]

    def hear(
        self,
        samples: Any,
        language: str,
        prompt: str,
        within: Sequence[tuple[float, float]] | None,
        tell: Callable[[float], None],
    ) -> list[Heard]:
        """The segments heard in `samples`, or only in the stretches `within`."""
        self._refresh()
        heard = []
        with _errors():
            found, _ = self._model.transcribe(
                samples,
                language=language,
                task="translate" if self._params["translate"] else "transcribe",
                temperature=TEMPERATURES,
                beam_size=self._params["beam_size"],
                best_of=1,
                initial_prompt=prompt or None,
                word_timestamps=self._params["word_timestamps"],
                clip_timestamps="0" if within is None else [time for stretch in within for time in stretch],
            )
            for segment in found:
                heard.append(_heard(segment))
                tell(segment.end)
        return heard

    def versions(self) -> dict[str, str]:
        """What decided the result."""
        ctranslate2, faster_whisper = self._packages
        return {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "faster-whisper": faster_whisper.__version__,
            "ctranslate2": ctranslate2.__version__,
            "compute_type": self._params["compute_type"],
            "device": self._device,
            **({"threads": str(self._threads)} if self._device == _torch.CPU else {}),
        }

    def _check_type(self) -> None:
        supported = self._packages[0].get_supported_compute_types(self._device)
        if self._params["compute_type"] not in supported:
            raise ItemError(
                f"the {self._device} where the job runs cannot compute in {self._params['compute_type']};"
                f" --compute-type float32 works everywhere, and here also: {', '.join(sorted(supported))}"
            )

    def _load(self) -> Any:
        ctranslate2, faster_whisper = self._packages
        ctranslate2.set_random_seed(SEED)
        try:
            with _errors():
                model = faster_whisper.WhisperModel(
                    str(self._folder),
                    device=self._device,
                    compute_type=self._params["compute_type"],
                    cpu_threads=self._threads,
                    local_files_only=True,
                )
        except (MemoryError, Missing):
            raise
        except Exception as error:  # a file that is no such model fails as it pleases
            raise BadModel(f"the model cannot be loaded: {error}") from error
        _check_bands(model)
        self._watch(model)
        return model

    def _watch(self, model: Any) -> None:
        """Notice when the model draws at random."""
        generate = model.generate_with_fallback

        def watched(*arguments: Any) -> Any:
            result = generate(*arguments)
            self._drew = self._drew or result[2] > 0  # the temperature
            return result

        model.generate_with_fallback = watched

    def _refresh(self) -> None:
        # Each of its threads seeds a generator of its own when it first draws, and never again: a window that comes
        # after one that drew would depend on it, and a job that is taken up would hear something else.
        if self._drew:
            self._model, self._drew = self._load(), False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_files(folder: Path) -> None:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadModel(
            f"engine faster-whisper wants a folder converted for CTranslate2, and there is no {missing[0]} in it;"
            " a .pt file wants --engine whisper"
        )


def _check_bands(model: Any) -> None:
    wanted, made = model.model.n_mels, len(model.feature_extractor.mel_filters)
    if wanted != made:
        raise BadModel(f"the model hears {wanted} bands, and its preprocessor_config.json says {made} or is missing")


@contextmanager
def _errors() -> Iterator[None]:
    """Say in the job's words what CTranslate2 says with a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        if "is not found or cannot be loaded" in str(error):
            raise Missing(f"a library that the GPU needs is missing where the job runs: {error}") from error
        raise


def _heard(segment: Any) -> Heard:
    words = ((float(word.start), float(word.end), word.word, float(word.probability)) for word in segment.words or ())
    return Heard(
        start=float(segment.start),
        end=float(segment.end),
        text=segment.text,
        words=tuple(words),
        temperature=float(segment.temperature),
        avg_logprob=float(segment.avg_logprob),
        no_speech_prob=float(segment.no_speech_prob),
        compression_ratio=float(segment.compression_ratio),
        seek=int(segment.seek),
        tokens=tuple(segment.tokens),
    )
