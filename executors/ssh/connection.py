"""Connections: every hop's key verified, every login by key, every failure named."""

from __future__ import annotations

import logging
import shlex
import socket
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import fabric
import paramiko

from executors.base import ExecutorError, Refused, Unreachable
from executors.options import CONFIGURATION, at_home
from executors.ssh import trust
from executors.ssh.address import Address

KEEPALIVE_SECONDS = 15

NAME, TCP, PROXY, HOST_KEY, LOGIN = "name", "TCP", "ProxyCommand", "host key", "login"
"""The steps of connecting to one hop."""

DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it prints its tracebacks on stderr


class NoKey(paramiko.AuthenticationException):  # type: ignore[misc]
    """There is no key that could be offered."""


class NoLogin:
    """Leaves a connection before the login: its host key is all that is wanted."""

    def authenticate(self, transport: Any) -> None:
        """Offer nothing."""


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
        if not refused:
            raise NoKey(f"{self.username} cannot log in: there is no key to log in with that needs no passphrase")
        raise paramiko.AuthenticationException(f"{self.username} cannot log in: it took none of {', '.join(refused)}")

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
        path = at_home(name)
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
        hint = f"offload targets rm {address.name} && offload targets add {address.name} URL --identity FILE"
        raise Refused(f"{address.name}: its key {address.identity} is not there", step=CONFIGURATION, hint=hint)
    identities = [str(address.identity)] if address.identity else []
    overrides = {"authentication": {"strategy_class": KeyLogin, "identities": identities}}
    path = str(address.ssh_config) if address.ssh_config else None
    try:
        config = fabric.Config(overrides=overrides, runtime_ssh_path=path)
        return fabric.Connection(address.host, user=address.user, port=address.port, config=config)
    except (OSError, ValueError, paramiko.SSHException) as error:
        hint = shlex.join(["ssh", *_config(address), "-G", address.host])
        raise Refused(f"{address.name}: ssh_config cannot be used: {error}", step=CONFIGURATION, hint=hint) from error


def hops(target: Any) -> list[Any]:
    """Return the connections on the way, the first one to open first, the target's last."""
    through = target.gateway if isinstance(target.gateway, fabric.Connection) else None
    return [*(hops(through) if through else []), target]


def close(target: Any) -> None:
    """Close a connection and those it goes through, however far each of them got."""
    for hop in reversed(hops(target)):
        with suppress(Exception):  # of a connection that is gone, closing may fail in any way
            hop.client.close()


def steps(address: Address, target: Any) -> tuple[str, ...]:
    """What connecting to a target takes, in order; those of hops before it name the hop."""
    return tuple(_label(address, hop, kind) for hop in hops(target) for kind in _kinds(hop))


def _kinds(hop: Any) -> tuple[str, ...]:
    if hop.gateway is None:
        return NAME, TCP, HOST_KEY, LOGIN
    return PROXY if isinstance(hop.gateway, str) else TCP, HOST_KEY, LOGIN


def _label(address: Address, hop: Any, kind: str) -> str:
    return kind if hop.original_host == address.host else f"{kind} of {hop.original_host}"


def _open(address: Address, hop: Any) -> None:
    limits = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), address.timeout)
    hop.connect_kwargs = {"transport_factory": partial(_transport, address.silence), **limits}
    hop.connect_timeout, hop.forward_agent = address.timeout, False
    with _strict(address, hop, address.timeout):
        hop.open()
    hop.transport.set_keepalive(min(KEEPALIVE_SECONDS, address.silence / 2))


def look(address: Address, hop: Any, sock: socket.socket, seconds: float) -> None:
    """Compare the key shown at the other end of `sock` with the one we know, and go no further. Raises as `connect`."""
    limits = {"timeout": seconds, "banner_timeout": seconds, "auth_strategy": NoLogin()}
    with _strict(address, hop, seconds):
        hop.client.connect(hop.host, hop.port, hop.user, sock=sock, **limits)


@contextmanager
def _strict(address: Address, hop: Any, seconds: float) -> Iterator[None]:
    """Have only known keys accepted within, and failures told by what they mean."""
    hop.client.set_missing_host_key_policy(trust.RejectUnknown())
    trust.load_known_hosts(hop.client, address)
    try:
        yield
    except (paramiko.SSHException, trust.UnknownKey, OSError, EOFError) as error:
        raise meaning(address, hop, error, seconds) from error


def _transport(silence: float, sock: Any, **options: Any) -> Any:
    if isinstance(sock, socket.socket):  # and not a channel through a hop
        # paramiko leaves Nagle's algorithm on: a request then waits 40 ms for the acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "gcm" not in cipher)  # the fastest here
    limit = getattr(socket, "TCP_USER_TIMEOUT", None)
    if limit and isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, limit, int(silence * 1000))
    return transport


def meaning(address: Address, hop: Any, error: Exception, seconds: float) -> ExecutorError:
    """The error of ours for one of connecting to `hop` within `seconds`: what failed, at which step, what to type."""
    where, kind = f"{hop.host}:{hop.port}", _failed(hop, error)
    step = _label(address, hop, kind)
    match error:
        case trust.UnknownKey():
            return trust.UntrustedKey(address.name, error.offer, step)
        case paramiko.BadHostKeyException():
            host = hop.host if hop.port == paramiko.config.SSH_PORT else f"[{hop.host}]:{hop.port}"
            return trust.UntrustedKey(address.name, trust.offer(host, error.key, error.expected_key), step)
        case paramiko.AuthenticationException():
            said = f"{address.name}: login at {where} failed: {error}"
            return Refused(said, step=step, hint=_key_hint(address, hop, error))
        case _:
            hint = _ssh(address, hop, "-G" if kind == NAME else "-v")
            return Unreachable(f"{address.name}: {failure(error, where, seconds)}", step=step, hint=hint)


def _failed(hop: Any, error: Exception) -> str:
    """The step that an error ended, by how far the connection had come."""
    transport, kinds = hop.client.get_transport(), _kinds(hop)
    if isinstance(error, socket.gaierror):
        return NAME
    if transport is None:
        return kinds[kinds.index(HOST_KEY) - 1]
    untrusted = isinstance(error, trust.UnknownKey | paramiko.BadHostKeyException)
    return LOGIN if transport.initial_kex_done and not untrusted else HOST_KEY


def _ssh(address: Address, hop: Any, option: str) -> str:
    """The command of OpenSSH that goes the same way and says more."""
    return shlex.join(["ssh", *_config(address), option, *_place(hop)])


def _key_hint(address: Address, hop: Any, error: Exception) -> str:
    own = address.identity if hop.original_host == address.host else None
    if own and isinstance(error, NoKey):
        return shlex.join(["ssh-add", str(own)])
    copy = shlex.join(["ssh-copy-id", *(["-i", str(own)] if own else []), *_config(address), *_place(hop)])
    return f"ssh-keygen -t ed25519 && {copy}" if isinstance(error, NoKey) else copy


def _config(address: Address) -> list[str]:
    return ["-F", str(address.ssh_config)] if address.ssh_config else []


def _place(hop: Any) -> list[str]:
    return ["-p", str(hop.port), f"{hop.user}@{hop.original_host}"]


def failure(error: Exception, where: str, seconds: float) -> str:
    """Say in words why `where` could not be reached within `seconds`."""
    match error:
        case socket.gaierror():
            why = ": there is no answer to who that is" if error.errno == socket.EAI_AGAIN else ""
            return f"the name of {where} is not known{why}"
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
