# /// script
# requires-python = ">=3.11"
# dependencies = ["av==18.1.0", "numpy>=2,<3", "pillow==13.0.0", "torch>=2.10,<3", "transformers==5.23.0"]
#
# [tool.offload]
# take-from-target = ["torch"]
# ///
"""Say in words what the frames of a clip show.

    params:  model (its name, for the result), frames (how many there are at most), format (of json and txt; null is
             the output's own), trust_remote_code, threads (0: all cores but one)
    options: format (json or txt: what the output's name ends in)
    models:  model (a folder as its repository has it)
    input:   frames, as extract_frames.py writes them
    output:  captions.json and captions.txt, as asked

captions.json holds, in this order:

    {"version": 1, "model": "blip-base", "captions": [{"seconds": 1.5, "text": "a dog on a beach"}, ...],
     "description": "A dog on a beach. The sea at night."}

The description is every caption once, in the order of the frames, each made a sentence: its first letter a capital, a
full stop where it ends in no mark. Two captions are the same when they differ in nothing but capitals, punctuation and
articles (a, an, the); the first of them stays. captions.txt is the description on a line.

A frame without a caption, because it cannot be read or the model finds no word for it, fails its item.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import _captions
import _frames
import _torch
import PIL
from _job import BadInput, Item, ItemError, Job, Result, run

VERSION = 1  # of captions.json
ARTICLES = {"a", "an", "the"}
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@_torch.needing("caption")
def caption(job: Job, item: Item) -> Result:
    """Caption the frames of one input."""
    captioner = _captioner(job)
    captions = list(_captioned(job, item, captioner))
    if not captions:
        raise BadInput("there is no frame in the input")
    document = {
        "version": VERSION,
        "model": job.params["model"],
        "captions": captions,
        "description": describe(entry["text"] for entry in captions),
    }
    measured = {"frames": len(captions), "description": document["description"]}
    return Result(tuple(_write(job, item, document)), measured)


@functools.cache  # the model is loaded once, however many items there are
def _captioner(job: Job) -> _captions.Captioner:
    # Frames go one by one: where memory ran out there is no smaller batch to try, only the CPU.
    device = _torch.ready(job.params["threads"], _torch.NO_GPU if job.ease else 0)
    captioner = _captions.load(job.models["model"], device, job.params["trust_remote_code"])
    job.emit("versions", versions=_versions(device))
    return captioner


def _captioned(job: Job, item: Item, captioner: _captions.Captioner) -> Iterator[dict[str, Any]]:
    for number, (seconds, picture) in enumerate(_frames.read(item.input), 1):
        text = captioner(picture)
        if not text:
            raise ItemError(f"the model has no word for the frame at {seconds:.3f} s")
        yield {"seconds": round(seconds, 3), "text": text}
        job.progress(item, min(1.0, number / job.params["frames"]))


def describe(captions: Iterable[str]) -> str:
    """Make one text of captions, as the head of this file says."""
    firsts: dict[tuple[str, ...], str] = {}
    for text in captions:
        firsts.setdefault(_gist(text), text)
    return " ".join(_sentence(text) for text in firsts.values())


def _gist(text: str) -> tuple[str, ...]:
    return tuple(word for word in WORD.findall(text.casefold()) if word not in ARTICLES) or (text,)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def _write(job: Job, item: Item, document: dict[str, Any]) -> Iterator[Path]:
    texts = {
        "json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        "txt": document["description"] + "\n",
    }
    for format_ in dict.fromkeys(job.params["format"] or [item.options["format"]]):
        path = item.out / f"captions.{format_}"
        path.write_text(texts[format_], "utf-8")
        yield path


def _versions(device: str) -> dict[str, str]:
    import transformers

    return {**_torch.versions(device), "transformers": transformers.__version__, "pillow": PIL.__version__}


if __name__ == "__main__":
    sys.exit(run(caption))
