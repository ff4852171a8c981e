"""Who we are to Google: the OAuth client that a login is made with, and what the token page answers it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from executors.base import Refused, Unreachable
from executors.colab.address import Address
from executors.colab.places import LOGIN
from executors.dialing import is_loopback, no_connection
from executors.jupyter.probe import not_installed

NAME, TCP, TLS = "name", "TCP", "TLS"
"""Steps of connecting, before the login."""

LATER = (408, 429)
"""Statuses below 500 that say: try again later."""


class Denied(Exception):
    """The token page said no, for a reason of Google's own in a word; what it means depends on what it was asked."""


@dataclass(frozen=True)
class Client:
    """An OAuth client. The secret of a desktop application keeps nothing safe; it is shown to nobody all the same."""

    client_id: str
    client_secret: str = field(repr=False)

    @classmethod
    def of(cls, address: Address) -> Self:
        """The client that a new login is made with: the target's own, else cgpu's. Raises Refused without one."""
        if address.client_file:
            return cls._of_console(address, address.client_file)
        found = cls.of_cgpu(address)
        if found is None:
            said = (
                f"{address.name}: a login needs an OAuth client: make one for a desktop application at "
                "https://console.cloud.google.com/auth/clients and name the file it gives you, or set up cgpu, "
                f"whose {address.cgpu / 'config.json'} is used where it is there"
            )
            raise Refused(said, step=LOGIN, hint=f"offload targets login {address.name} --client-file FILE")
        return found

    @classmethod
    def of_cgpu(cls, address: Address) -> Self | None:
        """The client that cgpu was set up with; None where it was not. Raises Refused when that cannot be read."""
        config = cgpu_config(address)
        words = config.get("clientId"), config.get("clientSecret")
        return cls(*map(str, words)) if all(words) else None

    @classmethod
    def _of_console(cls, address: Address, file: Path) -> Self:
        said = f"{address.name}: the OAuth client in {file} cannot be used: "
        mend = f"offload targets login {address.name} --client-file FILE"
        try:
            installed = read_object(file)["installed"]
            return cls(str(installed["client_id"]), str(installed["client_secret"]))
        except OSError as error:
            raise Refused(f"{said}{error.strerror}", step=LOGIN, hint=mend) from error
        except (ValueError, LookupError, TypeError):
            why = "it is not the file that Google's console offers for a desktop application"
            raise Refused(said + why, step=LOGIN, hint=mend) from None  # what was read is nobody's business


def cgpu_config(address: Address) -> dict[str, Any]:
    """What cgpu was set up with; empty where it was not. Raises Refused when that cannot be read."""
    return cgpu_file(address, address.cgpu / "config.json")


def cgpu_file(address: Address, file: Path) -> dict[str, Any]:
    """What a file of cgpu's holds; empty where it is not there. Raises Refused when it cannot be read."""
    try:
        return read_object(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(f"{address.name}: cgpu's {file} cannot be read: {error.strerror}", step=LOGIN) from error
    except ValueError:
        raise Refused(f"{address.name}: cgpu's {file} is damaged: it holds no JSON", step=LOGIN) from None


def read_object(file: Path) -> dict[str, Any]:
    """Read the JSON object in a file. Raises OSError or ValueError."""
    found = json.loads(file.read_bytes())
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


@dataclass(frozen=True)
class Granted:
    """What the token page gave: an access token good for `seconds`, and after a login a refresh token.

    `scopes` are those that were granted, None where that is what was asked for. `who` is the account's address,
    empty where it is not told.
    """

    access_token: str = field(repr=False)
    seconds: float
    refresh_token: str = field(repr=False)
    scopes: frozenset[str] | None
    who: str


def ask(address: Address, client: Client, **form: str) -> Granted:
    """Ask the token page, as `client`.

    Raises Denied for a no of Google's own, Unreachable when there is no answer or none of that page's, NotInstalled.
    """
    try:
        import httpx
    except ImportError as error:
        raise not_installed(address.name, error, "colab") from error

    page = address.places.token_page
    form |= {"client_id": client.client_id, "client_secret": client.client_secret}
    try:
        with httpx.Client(timeout=address.timeout, trust_env=not is_loopback(page)) as http:
            response = http.post(page, data=form)
    except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
        said = f"{address.name}: no answer from {urlsplit(page).netloc} within {address.timeout:g} s"
        raise Unreachable(said, step=LOGIN) from error
    except httpx.TransportError as error:
        raise no_connection(address.name, page, error, address.timeout) from error
    return _granted(address, response.status_code, response.content)


def _granted(address: Address, status: int, content: bytes) -> Granted:
    if status >= 500 or status in LATER:
        raise _no_answer(address, f"answers {status}: try again later")
    try:
        answer = json.loads(content)
        if status == 200:
            return _read(answer)
        raise Denied(_word(answer["error"]))
    except (ValueError, LookupError, TypeError):  # the error of what was read would tell what was read
        why = f"answers {status} with something else than a login; is a proxy, or the network's own page, in between?"
        raise _no_answer(address, why) from None


def _read(answer: Mapping[str, Any]) -> Granted:
    token, scopes = answer["access_token"], answer.get("scope")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise ValueError("no token")
    return Granted(
        access_token=token,
        seconds=float(answer["expires_in"]),
        refresh_token=str(answer.get("refresh_token") or ""),
        scopes=frozenset(str(scopes).split()) if scopes else None,
        who=_who(answer.get("id_token")),
    )


def _who(id_token: object) -> str:
    """The address in an id token. It came from the token page itself, so there is no signature to check."""
    try:
        part = str(id_token).split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["email"])[:200]
    except (ValueError, LookupError, TypeError):
        return ""


def _word(error: object) -> str:
    """The word that an OAuth error is; none of what is no such word is shown to anybody."""
    return str(error) if re.fullmatch(r"[a-z_]{1,40}", str(error)) else "an error of no name"


def _no_answer(address: Address, why: str) -> Unreachable:
    return Unreachable(f"{address.name}: {urlsplit(address.places.token_page).netloc} {why}", step=LOGIN)
