"""This machine as a target: files are referenced in place, commands are child processes."""

from executors.local.executor import LocalExecutor

__all__ = ["LocalExecutor"]
