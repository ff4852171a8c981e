"""The `offload` command: every service, and the verbs that look after jobs and targets."""

__version__ = "0.1.0"
