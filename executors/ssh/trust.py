"""Host keys: what is known, what is shown, and pinning the one for the other.

Our own known_hosts comes before the system's: what the user told us to trust counts most.
"""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import paramiko
from paramiko.hostkeys import InvalidHostKey

from executors.base import Refused
from executors.options import CONFIGURATION, at_home
from executors.ssh.address import Address

SYSTEM_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class Offer:
    """A key that a host shows and that is not the one we know.

    `host` as known_hosts names it (`host` or `[host]:port`), `kind` as in `ssh-ed25519`, `fingerprint` as OpenSSH
    prints it (`SHA256:...`), `known` the kind and fingerprint of the key we had, None where we had none.
    """

    host: str
    kind: str
    fingerprint: str
    base64: str
    known: str | None = None


class UntrustedKey(Refused):
    """A host on the way shows a key we do not know, or another one than we know."""

    def __init__(self, name: str, offer: Offer, step: str = "host key") -> None:
        super().__init__(_changed(name, offer) if offer.known else _unknown(name, offer), step=step)
        self.offer = offer


def _unknown(name: str, offer: Offer) -> str:
    return (
        f"{name}: the key of {offer.host} is not known: {offer.kind} {offer.fingerprint}. "
        f"Compare it with what the machine's owner says, then: offload targets trust {name}"
    )


def _changed(name: str, offer: Offer) -> str:
    return (
        f"{name}: THE KEY OF {offer.host} HAS CHANGED. Known is {offer.known}, shown is {offer.kind} "
        f"{offer.fingerprint}. Somebody may be pretending to be this machine: ask its owner. Only if the new key is "
        f"theirs: offload targets trust {name}"
    )


class UnknownKey(Exception):
    """Raised out of paramiko's connect, to carry the key that it asked about."""

    def __init__(self, host: str, key: Any) -> None:
        super().__init__(host)
        self.offer = offer(host, key)


class RejectUnknown:
    """The policy for keys in no known_hosts: refused, on every hop. Keeps the key for the message."""

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> NoReturn:
        """Refuse."""
        raise UnknownKey(hostname, key)


def offer(host: str, key: Any, known: Any = None) -> Offer:
    """Describe a key of paramiko's, and the one that was known in its place."""
    had = f"{known.get_name()} {known.fingerprint}" if known else None
    return Offer(host, key.get_name(), key.fingerprint, key.get_base64(), had)


def load_known_hosts(client: Any, address: Address) -> None:
    """Give a client all keys that are known. Raises Refused when a file is damaged."""
    for file in filter(None, (address.known_hosts, *map(at_home, SYSTEM_FILES))):
        try:
            client.load_system_host_keys(str(file))
        except FileNotFoundError:
            continue
        except (OSError, InvalidHostKey, UnicodeDecodeError) as error:
            said = f"{address.name}: {file} cannot be read: {error}"
            raise Refused(said, step=CONFIGURATION, hint=f"ssh-keygen -l -f {shlex.quote(str(file))}") from error


def untrusted(address: Address) -> Offer | None:
    """Connect, and return the first key on the way that is not known; None when all are, up to the target's.

    Hops of a ProxyJump come first, each only through those before it that are known: pin, and ask again.
    Raises Unreachable, and Refused when the login at a hop before the target fails (the keys so far are then known).
    """
    from executors.ssh import connection

    try:
        connection.close(connection.connect(address))
    except UntrustedKey as error:
        return error.offer
    except Refused as error:
        if error.step != connection.LOGIN:  # whom the target lets in is another question
            raise
    return None


def pin(offer: Offer, known_hosts: Path) -> None:
    """Remember a key as the host's only one in our known_hosts, whole or not at all, readable by its owner only."""
    keys = paramiko.HostKeys(str(known_hosts) if known_hosts.exists() else None)
    while offer.host in keys:
        del keys[offer.host]
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{offer.host} {offer.kind} {offer.base64}")
    keys.add(offer.host, offer.kind, entry.key)
    known_hosts.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=known_hosts.parent, prefix=".known_hosts.", delete=False) as draft:
        keys.save(draft.name)
    Path(draft.name).replace(known_hosts)
