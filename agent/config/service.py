"""How the service listens: [service]."""

from pydantic import Field, model_validator

from agent.config.base import Section


class ServiceSection(Section):
    """How the service listens.

    Parameters
    ----------
    bind
        Where instruments connect; without keys, on loopback only.
    key, allowed
        The agent's secret key (a file of `vaestar keygen`), and the folder with the public keys of those who may connect; both or
        none. Paths count from the configuration file's folder.
    messages_per_s
        Of one instrument, on average; what comes faster for a while is left unanswered, so that it is sent again.
    telemetry
        Where progress is published (lossy, for display only); empty: nowhere.
    heartbeat_s
        Interval of heartbeats in seconds.
    http
        HOST:PORT on loopback where health, metrics and a person's words are taken; port 0: any; empty: nowhere.
    silence_s
        An instrument of which nothing is heard for so many seconds is recorded as lost.
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
            raise ValueError("'key' and 'allowed' belong together: a key without a list would let everybody in; give both")
        return self
