"""A machine behind sshd: files by a small server of ours, commands through its user's login shell."""

from executors.ssh.executor import SSHExecutor

__all__ = ["SSHExecutor"]
