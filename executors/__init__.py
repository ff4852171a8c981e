"""Executors: the code that drives one kind of target each. A new one is a folder and a line here.

Values are `module:Class` strings, so nothing is imported until a target of that kind is used.
Third parties register theirs under the entry point group `offload.executors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from executors.base import Executor

KINDS = {
    "local": "executors.local:LocalExecutor",
    "ssh": "executors.ssh:SSHExecutor",
    "jupyter": "executors.jupyter:JupyterExecutor",
    "colab": "executors.colab:Colab",
}


def executor_class(kind: str) -> type[Executor]:
    """Import and return the executor class for `kind`.

    Raises:
        LookupError: no executor of that kind is known; the message lists those that are.
    """
    path = KINDS.get(kind) or _third_party(kind)
    if path is None:
        raise LookupError(f"no executor of kind {kind!r}; known kinds: {', '.join(sorted(KINDS))}")
    module, _, name = path.partition(":")
    return cast("type[Executor]", getattr(import_module(module), name))


def _third_party(kind: str) -> str | None:
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return next((entry.value for entry in entry_points(group="offload.executors", name=kind)), None)
