"""The Colab executor: a runtime's Jupyter server, behind Colab's control plane. httpx is imported when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from executors.base import ExecutorError, Gone, Lost, Probe, Refused, Unreachable
from executors.colab.address import Address
from executors.colab.places import RUNTIME
from executors.colab.runtime import Runtime
from executors.jupyter.probe import not_installed
from executors.jupyter.served import Served
from executors.rented import Holding, Rented

if TYPE_CHECKING:
    from executors.colab.control import Assigned, Control
    from executors.jupyter.session import Session


class ColabExecutor(Served, Rented):
    """Runs on a Colab runtime, which is taken when entered unless there is one. Options: see `Address`."""

    look_seconds: ClassVar[float] = 4.0
    """It asks for a token, what the account may have, and which runtimes it has. Being offline is known sooner."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._stack = ExitStack()

    def probe(self, deadline: float) -> Probe:
        """Ask the control plane what the account may have. Takes nothing."""
        from executors.colab import probe

        try:
            return probe.probe(Address.of(self.name, self.options), deadline)
        except ExecutorError as error:
            return Probe.failed(self.name, error)

    def __enter__(self) -> Self:
        """Take or find the runtime, and connect to it. Raises NoQuota, Gone, Unreachable, Refused or NotInstalled."""
        with ExitStack() as stack:
            address = Address.of(self.name, self.options)
            self._runtime = Runtime(address)
            self._control = stack.enter_context(self._controlling(address))
            with self._runtime.locked():
                self._endpoint, ours = self._assigned()
                self._runtime.use()
                started, used = self._runtime.started, self._runtime.used
            with self._not_for_nothing(ours, used), self._watched():
                self._session = _session(address, self._control, self._endpoint, started)
            self._runtime.answers()
            self._stack = stack.pop_all()
        return self

    @contextmanager
    def _not_for_nothing(self, ours: bool, used: float) -> Iterator[None]:
        """Give a runtime back that we took and cannot use, unless somebody else uses it by now."""
        try:
            yield
        except BaseException:
            if ours:
                with suppress(ExecutorError):  # it stays written down, and the next start tells of it
                    self.give_back(unless=lambda: self._runtime.used != used)
            raise

    def _assigned(self) -> tuple[str, bool]:
        """The runtime, and whether it is ours: nobody has entered it yet."""
        before = self._runtime.record
        if found := self._runtime.find(self._control):
            return found.endpoint, not (before and before.endpoint)
        if self.returning:
            raise self._runtime.gone(before.endpoint if before else "")
        return self._runtime.take(self._control).endpoint, True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. The runtime stays, for the next to enter, until `give_back`."""
        stack, self._stack = self._stack, ExitStack()
        with stack:
            if self._session:
                self._runtime.use()
            super().__exit__(kind, error, trace)

    def use(self) -> None:
        """Note that the runtime is in use now."""
        self._runtime.use()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A runtime that does not answer is gone for good where the control plane says so, and quiet where not."""
        try:
            yield
        except Gone:
            raise
        except (Lost, Unreachable, Refused) as error:
            if self._is_gone():
                raise self._runtime.gone(self._endpoint) from error
            raise

    def _is_gone(self) -> bool:
        try:
            return self._endpoint not in (one.endpoint for one in self._control.assignments())
        except ExecutorError:
            return False  # not known: the control plane is away, too

    @contextmanager
    def _controlling(self, address: Address) -> Iterator[Control]:
        try:
            from executors.colab.control import Control
            from executors.colab.login import Login
        except ImportError as error:
            raise not_installed(self.name, error, "colab") from error
        control = Control(self.name, address.places, Login(address), address.timeout)
        try:
            yield control
        finally:
            control.close()

    def held(self) -> Holding | None:
        """The runtime that was taken last, as it is remembered."""
        address = Address.of(self.name, self.options)
        runtime = Runtime(address)
        if (record := runtime.record) is None:
            return None
        what, used = f"a Colab runtime ({record.gpu or 'CPU'})", max(record.taken, runtime.used)
        return Holding(record.endpoint, what, record.taken, used, address.idle, address.keep)

    def keep_alive(self) -> None:
        """Tell the control plane that the runtime is in use."""
        address = Address.of(self.name, self.options)
        runtime = Runtime(address)
        with self._controlling(address) as control:
            before, found = self._looked_up(runtime, control)
            if found is None:
                raise runtime.gone(before)
            control.keep_alive(found.endpoint)

    def _looked_up(self, runtime: Runtime, control: Control) -> tuple[str, Assigned | None]:
        with runtime.locked():
            record = runtime.record
            return record.endpoint if record else "", runtime.find(control)

    def give_back(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Unassign the runtime."""
        address = Address.of(self.name, self.options)
        runtime = Runtime(address)
        with self._controlling(address) as control, runtime.locked():
            if unless():
                return False
            if found := runtime.find(control):
                control.unassign(found.endpoint)
                runtime.forget()
        return True

    def give_back_other(self, machine: str) -> None:
        """Unassign any runtime of the account, also one that another program took. Raises Unreachable or Refused."""
        with self._controlling(Address.of(self.name, self.options)) as control:
            there = [one.endpoint for one in control.assignments()]
            if machine not in there:
                said = f"{self.name}: the account has no runtime {machine}; it has {', '.join(there) or 'none'}"
                raise Refused(said, step=RUNTIME, hint=f"offload targets release {self.name}")
            control.unassign(machine)


def _session(address: Address, control: Control, endpoint: str, started: float) -> Session:
    try:
        from executors.colab.ready import session
    except ImportError as error:
        raise not_installed(address.name, error, "colab") from error
    return session(address, control, endpoint, started)
