"""A machine behind sshd: files over SFTP, commands through its user's login shell."""

from executors.ssh.executor import SSHExecutor

__all__ = ["SSHExecutor"]
