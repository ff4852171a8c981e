"""The runner's parts, one by one, where the executors' conformance suite cannot look."""

import sys

from tests.remote_scripts.runner.job import FOLDER

sys.path.append(str(FOLDER))  # as on a target, where a program's own folder is looked in
