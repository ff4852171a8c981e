"""Connections: every hop's key verified, every login by key, every failure named."""

from __future__ import annotations

import logging
import socket
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import fabric
import paramiko

from executors.base import ExecutorError, Refused, Unreachable
from executors.ssh import trust
from executors.ssh.address import Address

KEEPALIVE_SECONDS = 15
SILENCE_SECONDS = 90
"""How long sent bytes may stay unanswered: a cut of the network shorter than this is survived."""

DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it prints its tracebacks on stderr


class KeyLogin:
    """Logs in with the target's identity, ssh_config's, the agent's and the default keys. Never asks for a word."""

    def __init__(self, ssh_config: Any, fabric_config: Any, username: str) -> None:
        self.username = username
        self.files = [*fabric_config.authentication.identities, *ssh_config.get("identityfile", [])]
        self.only_files = ssh_config.get("identitiesonly") == "yes"

    def authenticate(self, transport: Any) -> None:
        """Offer each key in turn. Raises AuthenticationException when none is taken."""
        refused: list[str] = []
        with closing(self.keys()) as keys:
            for label, key in keys:
                try:
                    if not transport.auth_publickey(self.username, key):
                        return
                except (paramiko.SSHException, EOFError) as error:
                    if not transport.is_active():
                        if refused:
                            break  # it hung up after too many keys
                        raise EOFError("it hung up at the login") from error
                    refused.append(label)
        tried = f"it took none of {', '.join(refused)}" if refused else "there is no key to log in with"
        raise paramiko.AuthenticationException(f"{self.username} cannot log in: {tried}")

    def keys(self) -> Generator[tuple[str, Any], None, None]:
        """Keys that can be used without a passphrase, each with a name for it."""
        yield from _keys_in(self.files)
        if not self.only_files:
            with closing(paramiko.Agent()) as agent:
                for key in agent.get_keys():
                    yield f"the agent's {key.comment or key.get_name()}", key
            yield from _keys_in(name for name in DEFAULT_KEYS if name not in self.files)


def _keys_in(names: Any) -> Iterator[tuple[str, Any]]:
    for name in names:
        path = Path(name).expanduser()
        with suppress(OSError, ValueError, TypeError, paramiko.SSHException):  # absent, damaged, or with a passphrase
            yield name, paramiko.PKey.from_path(path)


def connect(address: Address) -> Any:
    """Connect through all hops and return the open connection to the target, a `fabric.Connection`.

    Raises Unreachable, or Refused: UntrustedKey for a key that is not the known one, else for a failed login.
    """
    target = describe(address)
    try:
        for hop in hops(target):
            _open(address, hop)
    except BaseException:
        close(target)
        raise
    return target


def describe(address: Address) -> Any:
    """Look the address up in ssh_config; nothing is connected yet. Raises Refused when that file is wrong."""
    if address.identity and not address.identity.is_file():
        raise Refused(f"{address.name}: its key {address.identity} is not there")
    identities = [str(address.identity)] if address.identity else []
    overrides = {"authentication": {"strategy_class": KeyLogin, "identities": identities}}
    path = str(address.ssh_config) if address.ssh_config else None
    try:
        config = fabric.Config(overrides=overrides, runtime_ssh_path=path)
        return fabric.Connection(address.host, user=address.user, port=address.port, config=config)
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise Refused(f"{address.name}: ssh_config cannot be used: {error}") from error


def hops(target: Any) -> list[Any]:
    """Return the connections on the way, the first one to open first, the target's last."""
    through = target.gateway if isinstance(target.gateway, fabric.Connection) else None
    return [*(hops(through) if through else []), target]


def close(target: Any) -> None:
    """Close a connection and those it goes through, however far each of them got."""
    for hop in reversed(hops(target)):
        with suppress(Exception):  # of a connection that is gone, closing may fail in any way
            hop.client.close()


def _open(address: Address, hop: Any) -> None:
    hop.client.set_missing_host_key_policy(trust.RejectUnknown())
    trust.load_known_hosts(hop.client, address)
    limits = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), address.timeout)
    hop.connect_kwargs, hop.connect_timeout = {"transport_factory": _transport, **limits}, address.timeout
    hop.forward_agent = False
    try:
        hop.open()
    except (paramiko.SSHException, trust.UnknownKey, OSError, EOFError) as error:
        raise _meaning(address, hop, error) from error
    hop.transport.set_keepalive(KEEPALIVE_SECONDS)


def _transport(sock: Any, **options: Any) -> Any:
    if isinstance(sock, socket.socket):  # and not a channel through a hop
        # paramiko leaves Nagle's algorithm on: a request then waits 40 ms for the acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "gcm" not in cipher)  # the fastest here
    limit = getattr(socket, "TCP_USER_TIMEOUT", None)
    if limit and isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, limit, SILENCE_SECONDS * 1000)
    return transport


def _meaning(address: Address, hop: Any, error: Exception) -> ExecutorError:
    where = f"{hop.host}:{hop.port}"
    match error:
        case trust.UnknownKey():
            return trust.UntrustedKey(address.name, error.offer)
        case paramiko.BadHostKeyException():
            host = hop.host if hop.port == paramiko.config.SSH_PORT else f"[{hop.host}]:{hop.port}"
            return trust.UntrustedKey(address.name, trust.offer(host, error.key, error.expected_key))
        case paramiko.AuthenticationException():
            return Refused(f"{address.name}: login at {where} failed: {error}")
        case _:
            return Unreachable(f"{address.name}: {failure(error, where, address.timeout)}")


def failure(error: Exception, where: str, seconds: float) -> str:
    """Say in words why `where` could not be reached within `seconds`."""
    match error:
        case socket.gaierror():
            return f"the name of {where} is not known"
        case paramiko.ssh_exception.NoValidConnectionsError():
            return failure(next(iter(error.errors.values())), where, seconds)
        case ConnectionRefusedError():
            return f"{where}: connection refused"
        case TimeoutError():
            return f"no answer from {where} within {seconds:g} s"
        case paramiko.ChannelException():
            return f"{where} cannot be reached from the machine before it: {error.text}"
        case OSError():
            return f"{where}: {error.strerror or error}"
        case _:
            return f"{where} does not answer as an SSH server: {error or 'it hung up'}"
