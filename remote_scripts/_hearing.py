"""What engines that hear words have in common. There are two: `_whisper`, the reference, and `_faster_whisper`.

An engine is made as `Engine(folder of the model, parameters of the job, ease)`, once a job, and offers

    english                     whether its model knows English only
    knows(language)             whether its model was taught that language
    language(samples)           code of the language spoken in (the first 30 s of) `samples`
    stretches(window)           where somebody speaks, as (start, end) in seconds
    hear(samples, language, prompt, stretches, tell)
                                the segments it hears, times in seconds; `tell` is told how far it is, in seconds
    versions()                  what decided the result, for the receipt

`samples` are float32, 16 kHz. A window is heard as a file of its own would be: the same samples and prompt make the
same segments, whatever was heard before.
"""

from __future__ import annotations

from dataclasses import dataclass

from _job import ItemError

SEED = 0
NO_BATCH = 2  # steps of `ease` that one counts for: there is no batch to make smaller before doing without the GPU
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in order until the text is neither repetitive nor improbable. Only the first does not draw at random."""
LOST = 0.5  # a temperature above which what was heard is no guide to what follows (whisper's own figure)


class BadModel(ItemError):
    """The files of the model are not what they should be."""

    kind = "integrity"


@dataclass(frozen=True)
class Heard:
    """A segment: its times in seconds, its text, and its words as (start, end, word, probability).

    `seek` is where the half minute begins that it was heard in, in hundredths of a second. `tokens` are what the model
    wrote, times among them, and `compression_ratio` is by how much their text can be made smaller.
    """

    start: float
    end: float
    text: str
    words: tuple[tuple[float, float, str, float], ...]
    temperature: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    seek: int
    tokens: tuple[int, ...]
