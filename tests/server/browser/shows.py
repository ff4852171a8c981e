# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Pretend to be a service: of each input the files that lie ready in a folder.

params: ready (that folder, with a folder for each item), measured (of all items)
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from _job import Item, Job, Result, run


def show(job: Job, item: Item) -> Result:
    """Copy what lies ready for one input."""
    ready = sorted(Path(job.params["ready"], str(item.index)).iterdir())
    return Result(tuple(Path(shutil.copy(path, item.out)) for path in ready), job.params["measured"])


if __name__ == "__main__":
    sys.exit(run(show))
