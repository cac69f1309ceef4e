"""What a decision was based on, recorded with it so that the decision can be recomputed from the history alone.

Events of the history are given by a sequence number: all events up to it were known. Everything else is recorded in full.
"""

import functools
import platform
from pathlib import Path

from threadpoolctl import threadpool_info

from agent.schema.decision import Decision, Record
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.scan import Scan


class DecisionBasis(Record):
    """What a decision was based on, apart from its scan and the configuration.

    Parameters
    ----------
    after
        Sequence number of the last event taken into account.
    limits
        Limits of the instrument at that time.
    previous
        Id of the decision from which training could start and with which the scan was compared; None if there was none, or none
        that could be read.
    earlier
        Id of the scan with which this one was registered to estimate drift.
    machine
        Processor, with its instruction sets, on which it was decided; on another one the last bits may differ.
    """

    after: int
    limits: Limits
    previous: str | None = None
    earlier: str | None = None
    machine: str = ""


def decision_basis(after: int, limits: Limits, previous: Decision | None, earlier: Scan | None) -> DecisionBasis:
    """The basis of a decision that is made on this machine."""
    return DecisionBasis(
        after=after,
        limits=limits,
        previous=previous.record.decision_id if previous else None,
        earlier=earlier.scan_id if earlier else None,
        machine=machine(),
    )


@functools.cache
def machine() -> str:
    """Name of the processor, as far as the system reports it, and instruction sets that the linear algebra libraries use.

    The same name ("AMD EPYC" in a virtual machine) can stand for processors with and without AVX-512, whose last bits differ.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model_name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    kernels = sorted({str(library["architecture"]) for library in threadpool_info() if library.get("architecture")})
    name = model_name or platform.processor() or platform.machine()
    return f"{name} ({', '.join(kernels)})" if kernels else name
