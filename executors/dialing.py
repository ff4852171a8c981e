"""Connections that could not be made: what each kind of failure is called, and what to do about it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

from executors.base import ExecutorError, Refused, Unreachable

NAME, TCP, TLS = "name", "TCP", "TLS"
"""The first steps of connecting to a url."""


def no_connection(name: str, url: str, error: Exception, timeout: float, **hints: str) -> ExecutorError:
    """The error of the target `name`, of which `url` could not be reached within `timeout` seconds. Raises nothing.

    `hints` are what to do where the certificate is not trusted (`untrusted`) or there is no TLS at all (`plain`).
    """
    place, cause = urlsplit(url).netloc, _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = f"{name}: the certificate of {place} is not one we trust: {cause.verify_message}"
        return Refused(said, step=TLS, hint=hints.get("untrusted", f"curl -I {url}"))
    if isinstance(cause, ssl.SSLError):
        said = f"{name}: {place} does not speak TLS: {cause.reason or cause}"
        return Refused(said, step=TLS, hint=hints["plain"]) if "plain" in hints else Unreachable(said, step=TLS)
    if isinstance(cause, socket.gaierror):
        return Unreachable(f"{name}: the name of {place} is not known: {cause.strerror}; are you online?", step=NAME)
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:  # httpx's are no TimeoutError
        return Unreachable(f"{name}: no answer from {place} within {timeout:g} s", step=TCP)
    why = (getattr(cause, "strerror", None) or str(error) or "it hung up").lower()
    return Unreachable(f"{name}: no connection to {place}: {why}", step=TCP)


def is_loopback(url: str) -> bool:
    """Whether `url` is on this machine: no proxy could reach it for us."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cause(error: BaseException) -> BaseException:
    """The first error of the chain that the operating system or the TLS library made."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, OSError):
        link = link.__cause__ or link.__context__
    return link or error
