"""What every executor must do, however slow or far its target. One suite, inherited by a class per kind:

class TestSsh(ExecutorConformance):
    @pytest.fixture(scope="class")
    def executor(self): ...           # entered
    def unreachable(self): ...        # an executor, not entered, whose target cannot be reached
    def small_disk(self): ...         # optional: a context with an entered executor on a disk of 4 MB
"""

from tests.executors.conformance.blobs import Blobs
from tests.executors.conformance.commands import Commands
from tests.executors.conformance.disk import FullDisk
from tests.executors.conformance.endings import Endings
from tests.executors.conformance.files import Files
from tests.executors.conformance.follow import Following
from tests.executors.conformance.jobs import Jobs


class ExecutorConformance(Files, Commands, Blobs, Jobs, Following, Endings, FullDisk):
    """All of it."""
