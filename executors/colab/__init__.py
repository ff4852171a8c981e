"""Google Colab as a target: a runtime of the user's own account, taken when a job needs it and given back after."""

from executors.colab.executor import ColabExecutor

__all__ = ["ColabExecutor"]
