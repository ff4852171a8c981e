"""A look at the control plane: does it let us in, and is there a runtime to be had? Nothing is taken."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from executors.base import ExecutorError, Probe, Unreachable
from executors.colab import hours
from executors.colab.address import Address
from executors.colab.places import COLAB
from executors.colab.runtime import Record, Runtime
from executors.jupyter.probe import in_time, not_installed

if TYPE_CHECKING:
    from executors.colab.control import Control


def probe(address: Address, deadline: float) -> Probe:
    """Ask, all within `deadline` seconds. Raises nothing."""
    try:
        from executors.colab import ready
    except ImportError as error:
        return Probe.failed(address.name, not_installed(address.name, error, "colab"))
    silent = Unreachable(f"{address.name}: no answer from Colab within {deadline:g} s", step=COLAB)
    return in_time(deadline, partial(_look, address, deadline), Probe.failed(address.name, silent, ready.STEPS))


def _look(address: Address, deadline: float) -> Probe:
    from executors.colab.control import Control
    from executors.colab.login import Login
    from executors.colab.ready import STEPS

    control = Control(address.name, address.places, Login(replace(address, timeout=deadline)), deadline)
    try:
        runtime, usage = Runtime(address), control.usage()
        held = _held(runtime, control)
        gpu = held.gpu if held else runtime.kinds(control, usage)[0]
        return Probe(True, gpu=gpu, hours=hours.left(usage, held.taken if held else None), steps=STEPS)
    except ExecutorError as error:
        return Probe.failed(address.name, error, STEPS)
    finally:
        control.close()


def _held(runtime: Runtime, control: Control) -> Record | None:
    """The runtime there is."""
    record = runtime.record
    return record if record and record.endpoint in (one.endpoint for one in control.assignments()) else None
