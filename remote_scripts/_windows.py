"""Sound in windows, one in memory at a time, each cut where it is quiet; and where in one something is to be heard.

Every decision is made of whole numbers taken from the samples alone, so that it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _sound import RATE, Track

HOP = RATE // 100  # samples whose energy is taken together: 10 ms
QUIET = 30  # hops that must be quiet around a cut
SOUND = 32  # of 32768: -60 dB, under which there is nothing to hear
FLOOR, ABOVE = 10, 10  # the percentile of hops that is background, and how much more power a voice has: 10 dB
BRIDGE, MARGIN = 200, 40  # hops: a pause this long ends a stretch, and what is kept before and after one


@dataclass(frozen=True)
class Window:
    """Samples (int16) of the sound from sample `start` on; its number is `index`."""

    index: int
    start: int
    samples: np.ndarray

    @property
    def end(self) -> int:
        """The sample after its last."""
        return self.start + len(self.samples)

    @property
    def silent(self) -> bool:
        """Whether no sample in it is loud enough to be heard."""
        return not len(self.samples) or int(np.abs(self.samples.astype(np.int32)).max()) < SOUND

    def floats(self) -> np.ndarray:
        """Its samples as models take them: float32, -1 to 1."""
        return self.samples.astype(np.float32) / 32768.0


def windows(track: Track, seconds: int) -> Iterator[Window]:
    """All of `track` in windows of `seconds`, a tenth more or less."""
    held = np.zeros(0, np.int16)
    index = start = 0
    least, most = seconds * RATE * 9 // 10, seconds * RATE * 11 // 10
    for piece in _blocks(track):
        held = np.concatenate([held, piece])
        while len(held) > most:
            cut = least + _quietest(held[least:most])
            yield Window(index, start, held[:cut].copy())
            index, start, held = index + 1, start + cut, held[cut:]
    if len(held):
        yield Window(index, start, held)


def _blocks(track: Track) -> Iterator[np.ndarray]:
    """The samples, some seconds at a time: joining them frame by frame would copy all that is held for each."""
    frames, size = [], 0
    for frame in track.sound():
        frames.append(frame.to_ndarray()[0])
        size += frame.samples
        if size >= 5 * RATE:
            yield np.concatenate(frames)
            frames, size = [], 0
    if frames:
        yield np.concatenate(frames)


def _energy(samples: np.ndarray) -> np.ndarray:
    """The energy of each whole hop."""
    hops = samples[: len(samples) // HOP * HOP].astype(np.int64).reshape(-1, HOP)
    return (hops * hops).sum(axis=1)


def _quietest(samples: np.ndarray) -> int:
    """The middle of the quietest QUIET hops, the first of several."""
    sums = np.concatenate([[0], np.cumsum(_energy(samples))])
    around = sums[QUIET:] - sums[:-QUIET]
    return (int(around.argmin()) + QUIET // 2) * HOP


def stretches(samples: np.ndarray) -> list[tuple[float, float]]:
    """Where somebody may be speaking, as (start, end) in seconds: wherever it is louder than the background.

    None reaches beyond the last whole hop: whisper would look for ever for what is there.
    """
    energy = _energy(samples)
    if not len(energy):
        return []
    background = int(np.sort(energy)[len(energy) * FLOOR // 100])
    loud = np.flatnonzero(energy > max(ABOVE * background, SOUND * SOUND * HOP))
    found: list[list[int]] = []
    for hop in loud.tolist():
        if found and hop - found[-1][1] < BRIDGE:
            found[-1][1] = hop + 1
        else:
            found.append([hop, hop + 1])
    around = ((max(0, first - MARGIN), min(len(energy), last + MARGIN)) for first, last in found)
    return [(first * HOP / RATE, last * HOP / RATE) for first, last in around]
