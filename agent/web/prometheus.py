"""Metrics of the agent in the Prometheus text format; docs/operations.md explains each."""

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
    """The state that the metrics are computed from, at one moment."""

    counters: RunCounters
    status: Mapping[str, Any]
    pending: int
    health: Health
    meters: Meters


def render(reading: Reading) -> bytes:
    """Return the metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Metrics(reading))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[_Family]:
        """Called by the registry."""
        for part in (_run_metrics, _instrument_metrics, _process_metrics):
            yield from part(self._reading)


def _run_metrics(reading: Reading) -> Iterator[_Family]:
    counters = reading.counters
    yield _counter("scans", "Scans recorded in this run.", "instrument", counters.scans)
    yield _counter("decisions", "Decisions made in this run.", "outcome", counters.decisions)
    yield _counter("results", "Results recorded in this run.", "status", counters.results)
    yield _counter("refused_messages", "Messages refused, by either side, in this run.", "code", counters.refused)
    yield _counter("commands", "Operator commands to instruments in this run.", "command", counters.commands)
    yield _counter("events", "Events in this run's history.", "kind", counters.events)
    yield CounterMetricFamily("vaestar_points_sent", "Points sent to instruments in this run.", counters.points_sent)
    yield _histogram("decision_seconds", "From the start of a search to its recorded decision.", counters.decision_s)


def _instrument_metrics(reading: Reading) -> Iterator[_Family]:
    known = instruments(reading.status)
    connected = [i for i in known if i["connected"]]
    yield GaugeMetricFamily("vaestar_instruments_connected", "Instruments that are connected.", len(connected))
    last_heard = GaugeMetricFamily(
        "vaestar_instrument_last_heard_seconds", "Seconds since the last message of an instrument.", labels=["instrument"]
    )
    state = GaugeMetricFamily("vaestar_instrument_may_go_on", "1 if running, 0 if paused or stopped.", labels=["instrument"])
    for instrument in known:
        if instrument["last_heard_s"] is not None:
            last_heard.add_metric([instrument["instrument_id"]], instrument["last_heard_s"])
        state.add_metric([instrument["instrument_id"]], 1.0 if instrument["state"] == "running" else 0.0)
    yield last_heard
    yield state
    deciding = sum(1 for i in known if i["deciding"])
    yield GaugeMetricFamily("vaestar_scans_undecided", "Newest scans without a decision.", deciding)
    yield GaugeMetricFamily("vaestar_search_running", "1 while a search runs.", float(deciding > 0))
    yield GaugeMetricFamily("vaestar_decisions_waiting", "Decisions that wait for approval.", reading.pending)


def _process_metrics(reading: Reading) -> Iterator[_Family]:
    gauges: Mapping[str, tuple[str, Callable[[], float]]] = {
        "healthy": ("1 if all health checks pass.", lambda: float(reading.health.ok)),
        "disk_free_bytes": ("Free space on the disk of the run directory.", lambda: float(reading.health.disk_free_bytes)),
        "memory_bytes": ("Resident memory of the agent, without its workers.", lambda: float(resident_bytes())),
        "loop_lag_seconds": ("Largest delay of the event loop in the last minute.", lambda: reading.health.loop_lag_s),
        "uptime_seconds": ("Since this process started to serve.", lambda: reading.meters.uptime_s),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(f"vaestar_{name}", text, value())
    yield _histogram("ack_seconds", "From reading a message to its acknowledgement.", reading.meters.ack_s)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"vaestar_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, histogram: Any) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"vaestar_{name}", text, buckets=histogram.buckets(), sum_value=histogram.sum)
