"""The agent's figures in Prometheus' text format; docs/operations.md explains each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agent.history.counters import RunCounters
from agent.messaging.status_view import instruments
from agent.monitoring.health import Health
from agent.monitoring.meters import Meters
from agent.monitoring.process_memory import resident_bytes

CONTENT_TYPE = CONTENT_TYPE_LATEST
_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True)
class Reading:
    """All that the figures are drawn from, at one moment."""

    tally: RunCounters
    status: Mapping[str, Any]
    pending: int
    health: Health
    meters: Meters


def rendered(reading: Reading) -> bytes:
    """The figures as text."""
    registry = CollectorRegistry()
    registry.register(_Figures(reading))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[_Family]:
        """Asked by the registry."""
        for part in (_of_the_run, _of_the_instruments, _of_the_process):
            yield from part(self._reading)


def _of_the_run(reading: Reading) -> Iterator[_Family]:
    tally = reading.tally
    yield _counted("scans", "Scans recorded in this run.", "instrument", tally.scans)
    yield _counted("decisions", "Decisions made in this run.", "outcome", tally.decisions)
    yield _counted("results", "Results recorded in this run.", "status", tally.results)
    yield _counted("refused_messages", "Messages refused, by either side, in this run.", "code", tally.refused)
    yield _counted("commands", "Words of a person to instruments in this run.", "command", tally.commands)
    yield _counted("events", "Events in this run's history.", "kind", tally.events)
    yield CounterMetricFamily("vaestar_points_sent", "Places sent to instruments in this run.", tally.points_sent)
    yield _histogram("decision_seconds", "From a scan's turn to its recorded decision.", tally.decision_s)


def _of_the_instruments(reading: Reading) -> Iterator[_Family]:
    known = instruments(reading.status)
    connected = [one for one in known if one["connected"]]
    yield GaugeMetricFamily("vaestar_instruments_connected", "Instruments that have said hello and not goodbye.", len(connected))
    heard = GaugeMetricFamily(
        "vaestar_instrument_last_heard_seconds", "Since an instrument was last heard.", labels=["instrument"]
    )
    state = GaugeMetricFamily("vaestar_instrument_may_go_on", "1 if running, 0 if paused or stopped.", labels=["instrument"])
    for one in known:
        if one["last_heard_s"] is not None:
            heard.add_metric([one["instrument_id"]], one["last_heard_s"])
        state.add_metric([one["instrument_id"]], 1.0 if one["state"] == "running" else 0.0)
    yield heard
    yield state
    deciding = sum(1 for one in known if one["deciding"])
    yield GaugeMetricFamily("vaestar_scans_undecided", "Newest scans that wait for their decision.", deciding)
    yield GaugeMetricFamily("vaestar_search_running", "1 while a scan is being decided on.", float(deciding > 0))
    yield GaugeMetricFamily("vaestar_decisions_waiting", "Decisions that wait for a person's approval.", reading.pending)


def _of_the_process(reading: Reading) -> Iterator[_Family]:
    gauges: Mapping[str, tuple[str, Callable[[], float]]] = {
        "healthy": ("1 if /healthz says so.", lambda: float(reading.health.ok)),
        "disk_free_bytes": ("Free where the run is kept.", lambda: float(reading.health.disk_free_bytes)),
        "memory_bytes": ("Resident memory of the agent, without its workers.", lambda: float(resident_bytes())),
        "loop_lag_seconds": ("How late the event loop was at most in the last minute.", lambda: reading.health.loop_lag_s),
        "uptime_seconds": ("Since this process began to serve.", lambda: reading.meters.uptime_s),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(f"vaestar_{name}", text, value())
    yield _histogram("ack_seconds", "From reading a message to its acknowledgement.", reading.meters.ack_s)


def _counted(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"vaestar_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, histogram: Any) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"vaestar_{name}", text, buckets=histogram.buckets(), sum_value=histogram.sum)
