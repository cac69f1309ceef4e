"""What a decision rests on, noted with it, so that the same question can be put again from the history alone.

Of what the history holds a number is enough: all events up to it were known. The rest is said in full.
"""

import functools
import platform
from pathlib import Path

from threadpoolctl import threadpool_info

from agent.schema.decision import Decision, Record
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.scan import Scan


class DecisionBasis(Record):
    """The question behind a decision.

    Parameters
    ----------
    after
        Number of the last event that had been taken into account: results up to it were known, and no later ones.
    limits
        In force for the instrument.
    previous
        The decision that training could go on from, and that the scan was held against; None: none, or none that could be read.
    earlier
        The scan whose picture told of drift.
    machine
        Where it was decided: on another one the last bits may differ.
    """

    after: int
    limits: Limits
    previous: str | None = None
    earlier: str | None = None
    machine: str = ""


def asked(after: int, limits: Limits, previous: Decision | None, earlier: Scan | None) -> DecisionBasis:
    """The question, as it is noted."""
    return DecisionBasis(
        after=after,
        limits=limits,
        previous=previous.record.decision_id if previous else None,
        earlier=earlier.scan_id if earlier else None,
        machine=machine(),
    )


@functools.cache
def machine() -> str:
    """The processor's name, as far as the system tells it, and the instruction sets that its linear algebra is written for.

    One name ("AMD EPYC" of a virtual machine) can stand for processors with and without AVX-512, whose last bits differ.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    kernels = sorted({str(library["architecture"]) for library in threadpool_info() if library.get("architecture")})
    name = named or platform.processor() or platform.machine()
    return f"{name} ({', '.join(kernels)})" if kernels else name
