"""Google Colab as a target: a runtime of the user's own account, taken when a job needs it and given back after."""

from executors.colab.cgpu_executor import CgpuExecutor
from executors.colab.executor import ColabExecutor
from executors.colab.way import Colab

__all__ = ["CgpuExecutor", "Colab", "ColabExecutor"]
