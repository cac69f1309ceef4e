"""The agent in a closed loop: measured results enter the next decision, as in the service."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.schema.decision import Decision
from agent.schema.measurements import MeasuredOnSample, Result
from benchmarks.harness.real_loops import RealLoops
from instrument_adapters.protocol.messages import Limits


def closed_loop_places(
    agent: Agent, data: RealLoops, first: Decision, after: Sequence[int], limits: Limits
) -> tuple[Int[np.ndarray, " n"], list[Decision]]:
    """Rows of pixels in the order of measurement, and the decisions that requested them, including the first.

    Parameters
    ----------
    agent
        Agent whose configuration requests enough points.
    data
        Film to be measured. A result contains the parameters that an instrument derives from one loop by itself.
    first
        Decision on the scan before any measurement.
    after
        Numbers of loops after which the same frame is scanned and decided on again.
    limits
        Limits of the instrument.
    """
    decisions, rows = [first], np.empty(0, dtype=np.int64)
    frame, cols = data.scan().frame, data.image.shape[1]
    for number, loops in enumerate(after, start=2):
        rows = np.concatenate([rows, rows_of(decisions[-1], cols)[: loops - len(rows)]])
        xy = frame.to_metres(data.pixels[rows].astype(np.float64))
        results = [
            Result("ok", (float(x), float(y)), dict(zip(data.number_names, map(float, numbers), strict=True)))
            for (x, y), numbers in zip(xy, data.numbers[rows], strict=True)
        ]
        scan = replace(data.scan(), scan_id=f"{data.scan().scan_id}-{number}")
        decisions.append(
            agent.decide(
                DecisionInputs(scan, limits=limits, measured_xy=xy, results=MeasuredOnSample.of(results), previous=decisions[-1])
            )
        )
    return np.concatenate([rows, rows_of(decisions[-1], cols)]), decisions


def rows_of(decision: Decision, cols: int) -> Int[np.ndarray, " n"]:
    """Requested points of a decision, as rows of pixels in raster order."""
    return np.array([r.row * cols + r.col for r in decision.record.requests], dtype=np.int64)
