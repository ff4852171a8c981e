"""`offload completion`: make the shell complete verbs, options, targets and jobs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from broker.errors import OffloadError


@click.command(
    help='Print a completion script: add `eval "$(offload completion bash)"` to your shell\'s start-up file.'
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if kind is None:
        raise OffloadError(f"no completion for {shell}")
    print(kind(root, {}, "offload", "_OFFLOAD_COMPLETE").source())
