"""The running service: its addresses and time limits, [service], and when it does what, [schedule]."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.config.base import Section


class ServiceSection(Section):
    """Addresses, keys and time limits of the service.

    Parameters
    ----------
    bind
        ZeroMQ address to which instruments connect; without keys it must be on loopback.
    telemetry
        ZeroMQ address at which progress is published for display (best effort); empty: not published.
    heartbeat_s
        Interval of the agent's heartbeats in seconds.
    http
        HOST:PORT on loopback for the dashboard, health, metrics and operator commands; port 0: any free port; empty: no HTTP
        server.
    key
        Path of the agent's secret key, a file made by `vaestar keygen`, relative to the folder of the configuration file; given
        together with `allowed` or not at all.
    allowed
        Path of the folder with the public keys of all clients that may connect, relative to the folder of the configuration
        file; given together with `key` or not at all.
    messages_per_s
        Largest average rate of messages of one instrument, per second, of which each MiB counts as one; the agent leaves messages
        beyond it unanswered, and the client sends them again.
    silence_s
        Seconds without any message after which an instrument is recorded as lost.
    """

    bind: str = "tcp://127.0.0.1:5555"
    telemetry: str = "tcp://127.0.0.1:5556"
    heartbeat_s: float = Field(default=5.0, gt=0)
    http: str = "127.0.0.1:5557"
    key: str = ""
    allowed: str = ""
    messages_per_s: float = Field(default=50.0, gt=0)
    silence_s: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _key_with_list(self) -> "ServiceSection":
        if bool(self.key) != bool(self.allowed):
            raise ValueError("'key' and 'allowed' belong together: a key without a list of clients would admit anyone; give both")
        return self


class ScheduleSettings(BaseModel):
    """When a newer scan ends a search, what is done while no scan is waiting, and intervals of the service's periodic jobs.

    Parameters
    ----------
    when_newer
        Treatment of a running search when a newer scan of its instrument arrives. "cancel" ends it. "finish" completes it for
        the record and for the next warm start, and sends nothing.
    deep
        Whether a decided scan is searched again, with more seeds and steps, while no scan is waiting.
    idle_after_s
        Delay in seconds from a decision to its deeper search.
    deep_seeds
        Number of models of each configuration in a deeper search, if larger than `search.seeds`.
    deep_steps_factor
        Optimiser steps of a deeper search as a multiple of `train.steps`.
    poke_s
        Interval in seconds at which the queue of scans is re-evaluated, in case a wake-up was lost.
    watch_s
        Interval in seconds at which the computer's clock is checked; a step of the clock would delay all periodic jobs.
    reap_s
        Interval in seconds at which files left by earlier agents of this run are removed.
    retention_s
        Interval in seconds at which arrays are removed that need not be kept any longer.
    health_s
        Interval in seconds at which disk and history are checked and unused memory is returned to the system.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    when_newer: Literal["cancel", "finish"] = "cancel"
    deep: bool = False
    idle_after_s: float = Field(default=60.0, ge=0)
    deep_seeds: int = Field(default=6, ge=1, le=100)
    deep_steps_factor: float = Field(default=2.0, ge=1, le=100)
    poke_s: float = Field(default=10.0, gt=0)
    watch_s: float = Field(default=1.0, gt=0)
    reap_s: float = Field(default=600.0, gt=0)
    retention_s: float = Field(default=86400.0, gt=0)
    health_s: float = Field(default=60.0, gt=0)
