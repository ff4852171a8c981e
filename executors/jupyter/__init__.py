"""Any Jupyter server: files by its contents API, commands through a kernel that is ours."""

from executors.jupyter.executor import JupyterExecutor

__all__ = ["JupyterExecutor"]
