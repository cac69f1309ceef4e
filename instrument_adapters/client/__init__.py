"""The client that runs beside an instrument and talks to the agent."""

from instrument_adapters.client.client import ClientReport, ClientTimings, run_client, stop_on_signals

__all__ = ["ClientReport", "ClientTimings", "run_client", "stop_on_signals"]
