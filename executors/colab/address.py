"""How a Colab target is set: what its url and options say, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executors.colab.places import PLACES, Places
from executors.options import at_home, seconds, wrong

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0

IDLE_SECONDS = 300.0
"""How long a runtime that nobody uses is kept for the next command: a cold start takes a minute, and costs quota."""

KEEP_SECONDS = 2 * 3600.0
"""How long what a killed command left there is kept for the same command typed again."""

URL, CGPU_URL = "colab://", "colab+cgpu://"
"""By our own client, or by the command cgpu. See `executors.colab.way`."""

ROOT = "content/offload"
"""Under the root of Colab's Jupyter server, which is the machine's own."""


INNER = {"url", "state", "cgpu"}
OPTIONS = INNER | {"gpu", "client_file", "idle_seconds", "keep_seconds", "connect_timeout", "silence"} | PLACES
"""A misspelt one might cost money: so no other is passed over in silence."""


@dataclass(frozen=True)
class Address:
    """`colab://` or `colab+cgpu://`, and the options that go with it.

    `gpu` is the kind to ask for (T4, L4, A100, ...), empty for the best that costs nothing. `state` is a folder for the
    login and for what is known of the runtime, `cgpu` the configuration folder of the command of that name.
    `client_file` is the OAuth client to log in as, in the file that Google's console offers for a desktop application;
    None for the one that cgpu was set up with. `idle` is the seconds that an unused runtime is kept, `keep` the most
    that one is kept alive at all. `timeout` is the most seconds that connecting may take, `silence` those that an open
    connection may stay without an answer.
    """

    name: str
    gpu: str
    state: Path
    cgpu: Path
    client_file: Path | None
    places: Places
    idle: float
    keep: float
    timeout: float
    silence: float

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> Address:
        """Read a target's options. Raises Refused when they make no sense."""
        if unknown := sorted(options.keys() - OPTIONS):
            raise wrong(name, f"there is no option {unknown[0]}; there are {', '.join(sorted(OPTIONS - INNER))}")
        if options.get("url") not in (URL, CGPU_URL):
            raise wrong(name, f"its url is {URL} or {CGPU_URL}, and what else there is to say stands in its options")
        if options["url"] == CGPU_URL and options.get("gpu"):
            raise wrong(name, "cgpu takes the GPU that Colab gives: leave gpu out")
        return cls(
            name=name,
            gpu=_gpu(name, options.get("gpu", "")),
            state=Path(options["state"]),
            cgpu=at_home(options["cgpu"]),
            client_file=at_home(options["client_file"]) if options.get("client_file") else None,
            places=Places.of(name, options),
            idle=seconds(name, options, "idle_seconds", IDLE_SECONDS),
            keep=seconds(name, options, "keep_seconds", KEEP_SECONDS),
            timeout=seconds(name, options, "connect_timeout", CONNECT_SECONDS),
            silence=seconds(name, options, "silence", SILENCE_SECONDS),
        )


def _gpu(name: str, word: str) -> str:
    if word and not word.isalnum():
        raise wrong(name, f"gpu is a word like T4, L4 or A100, not {word!r}")
    return word.upper()
