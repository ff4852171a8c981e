"""Where an SSH target is: what its url and options say, before ssh_config has its word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from executors.options import at_home, seconds, wrong

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30
"""A mobile link that changes cells, or a Wi-Fi that roams, is back within seconds; TCP then goes on by itself."""

DEFAULT_ROOT = "~/.offload"
EXAMPLE = "write it as in ssh://user@host:22/folder"


@dataclass(frozen=True)
class Address:
    """`ssh://[user@]host[:port][/root]`, and the files that say how to get there.

    `host` may be an alias of ssh_config; `user` and `port` are None where ssh_config or the defaults decide.
    `root` is absolute or starts with `~/`. `timeout` is the most seconds each step of a connection may take, `silence`
    the seconds that an open one may leave what we sent unanswered: a cut of the network shorter than this is survived.
    """

    name: str
    host: str
    user: str | None
    port: int | None
    root: str
    known_hosts: Path | None
    identity: Path | None
    ssh_config: Path | None
    timeout: float
    silence: float

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> Address:
        """Read a target's options. Raises Refused when they make no sense: no host in the url, no number of seconds."""
        text = options.get("url", "")
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError as error:
            raise wrong(name, f"{text}: {error}; {EXAMPLE}") from error
        user, _, place = url.netloc.rpartition("@")  # not url.hostname: that loses an alias's capitals
        host = place.removesuffix(f":{port}") if port else place.rstrip(":")
        if url.scheme != "ssh" or not host or host.startswith("-"):
            raise wrong(name, f"{text or 'its url'} names no host; {EXAMPLE}")
        if ":" in user:
            raise wrong(name, "a url must hold no password; log in with a key, as ssh-copy-id installs it")
        return cls(
            name=name,
            host=host.strip("[]"),
            user=unquote(user) or None,
            port=port,
            root=_root(unquote(url.path)),
            known_hosts=_file(options, "known_hosts"),
            identity=_file(options, "identity"),
            ssh_config=_file(options, "ssh_config"),
            timeout=seconds(name, options, "connect_timeout", CONNECT_SECONDS),
            silence=seconds(name, options, "silence", SILENCE_SECONDS),
        )


def _root(path: str) -> str:
    if path.startswith("/~/"):
        return path[1:]
    return path.rstrip("/") or DEFAULT_ROOT


def _file(options: Mapping[str, str], key: str) -> Path | None:
    return at_home(options[key]) if options.get(key) else None
