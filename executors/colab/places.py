"""Where Colab is: its addresses, all of them, and nothing else. A client that Google changes is changed here.

The paths are those of the clients of 2026 (colab-vscode 0.9, cgpu 0.1).
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from executors.options import wrong

COLAB, LOGIN, QUOTA, RUNTIME = "Colab", "login", "quota", "runtime"
"""Steps of connecting, before those of the runtime's Jupyter server."""

PORT = "8080"
"""Of the Jupyter server on a runtime."""

HASH_LETTERS = 44
"""Length of a notebook's hash, by which Colab knows what a runtime was taken for."""

SCOPES = "profile email https://www.googleapis.com/auth/colaboratory"


@dataclass(frozen=True)
class Places:
    """Base urls, without a slash at the end. Each is an option of the target, so that another server can stand in."""

    api: str = "https://colab.research.google.com"
    login_page: str = "https://accounts.google.com/o/oauth2/v2/auth"
    token_page: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - where tokens are given

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> Places:
        """Read them from a target's options. Raises Refused for what is no url."""
        given = {field.name: options[field.name] for field in fields(cls) if options.get(field.name)}
        for key, url in given.items():
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise wrong(name, f"{key} is a url, not {url!r}")
        return cls(**{key: url.rstrip("/") for key, url in given.items()})

    def usage(self) -> str:
        """What the account may have, and has: GET, no side effect."""
        return f"{self.api}/tun/m/ccu-info"

    def assignments(self) -> str:
        """The account's runtimes: GET, no side effect."""
        return f"{self.api}/tun/m/assignments"

    def assign(self) -> str:
        """A runtime for a notebook's hash: GET tells of one that is there, POST takes one."""
        return f"{self.api}/tun/m/assign"

    def unassign(self, endpoint: str) -> str:
        """Give a runtime back: GET for the token, then POST."""
        return f"{self.api}/tun/m/unassign/{endpoint}"

    def keep_alive(self, endpoint: str) -> str:
        """Say that a runtime is in use: GET."""
        return f"{self.api}/tun/m/{endpoint}/keep-alive/"

    def proxy(self) -> str:
        """A new token for the way to a runtime's Jupyter server: GET."""
        return f"{self.api}/tun/m/runtime-proxy-token"


PLACES = {field.name for field in fields(Places)}
"""Names of the options that say where Colab is."""


def new_hash() -> str:
    """Make a notebook's hash: a uuid with - as _, filled up with dots."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)).replace("-", "_").ljust(HASH_LETTERS, ".")
