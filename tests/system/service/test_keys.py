"""Encrypted connections: allowed keys are served under their own name; all other clients are refused, informed and recorded."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from agent.config.model import Config
from agent.errors import ConfigError, ServiceError
from agent.schema import event_kinds as kinds
from instrument_adapters.client import run_client
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.curve_keys import ClientKeys, KeyFileError, load_pair, load_public, make_keys
from tests.support.samples import hello
from tests.system.bench import config, events, instrument, recorded, serving


class Keys:
    """Key pairs of the agent and of two instruments, of which the first is allowed."""

    def __init__(self, folder: Path) -> None:
        make_keys("agent", folder)
        make_keys("afm-1", folder / "allowed")
        make_keys("afm-2", folder)
        self.folder = folder
        self.agent = load_public(folder / "agent.key")

    def of(self, name: str) -> ClientKeys:
        folder = self.folder / "allowed" if name == "afm-1" else self.folder
        return ClientKeys(load_pair(folder / f"{name}.key_secret"), self.agent)

    def config(self, **service: object) -> Config:
        own = {"key": str(self.folder / "agent.key_secret"), "allowed": str(self.folder / "allowed")}
        return config(**(own | service))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def test_a_client_with_an_allowed_key_is_welcomed(tmp_path: Path, keys: Keys) -> None:
    async def scenario() -> None:
        async with serving(tmp_path / "run", keys.config()) as (_, state):
            with instrument(state["bind"], "afm-1", keys=keys.of("afm-1")) as bench:
                await bench.ask(hello("afm-1"), wire.Welcome)

    asyncio.run(scenario())


def test_a_client_without_an_allowed_key_is_refused_and_recorded_once_and_admitted_when_its_key_is_added(
    tmp_path: Path, keys: Keys
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path / "run", keys.config()) as (_, state):
            with instrument(state["bind"], "afm-2", keys=keys.of("afm-2")) as bench:
                (event,) = await recorded(tmp_path / "run", kinds.CLIENT_DENIED)
                assert event.subject == "127.0.0.1"
                assert event.body["key"] == keys.of("afm-2").own.public.decode()[:8]
                (keys.folder / "allowed" / "afm-2.key").write_bytes((keys.folder / "afm-2.key").read_bytes())
            with instrument(state["bind"], "afm-2", keys=keys.of("afm-2")) as bench:
                await bench.ask(hello("afm-2"), wire.Welcome)

    asyncio.run(scenario())
    assert len(events(tmp_path / "run", kinds.CLIENT_DENIED)) == 1


def test_a_key_speaks_under_its_own_name_only(tmp_path: Path, keys: Keys) -> None:
    async def scenario() -> None:
        async with serving(tmp_path / "run", keys.config()) as (_, state):
            with instrument(state["bind"], "afm-3", keys=keys.of("afm-1")) as bench:
                refused = await bench.ask(hello("afm-3"), wire.Refused)
                assert refused.code == "wrong_identity"
                assert "key of 'afm-1' may not speak as 'afm-3'" in refused.reason

    asyncio.run(scenario())


@pytest.mark.parametrize("case", ["no keys", "another agent's key", "not on the list"])
def test_a_client_that_is_refused_reports_why_and_keeps_trying(tmp_path: Path, keys: Keys, case: str) -> None:
    makes = {
        "no keys": lambda: None,
        "another agent's key": lambda: replace(keys.of("afm-1"), agent=load_public(keys.folder / "afm-2.key")),
        "not on the list": lambda: keys.of("afm-2"),
    }
    says = {
        "no keys": "requires keys",
        "another agent's key": "differs from --agent-key",
        "not on the list": "does not accept this instrument",
    }
    heard: list[str] = []

    async def scenario() -> None:
        stop = threading.Event()

        def on_event(_: str, facts: object) -> None:
            heard.append(str(facts["sentence"]))  # type: ignore[index]
            if says[case] in heard[-1]:
                stop.set()

        async with serving(tmp_path / "run", keys.config()) as (_, state):
            client = asyncio.to_thread(
                run_client,
                Idle(),
                state["bind"],
                stop=stop,
                on_event=on_event,
                keys=makes[case](),  # type: ignore[arg-type]
            )
            async with asyncio.timeout(20):
                await client

    asyncio.run(scenario())
    assert any(says[case] in sentence for sentence in heard), heard


class Idle:
    """An instrument that is never used."""

    instrument_id, model, limits = "afm-2", "none", wire.Limits()

    def scan(self) -> None:
        raise AssertionError("the client was not admitted")

    def measure(self, _: object) -> None:
        raise AssertionError("the client was not admitted")

    def close(self) -> None:
        pass


def test_beyond_this_computer_only_with_keys(tmp_path: Path, keys: Keys) -> None:
    async def start(settings: Config) -> None:
        async with serving(tmp_path / "run", settings):
            pass

    with pytest.raises(ServiceError, match="vaestar keygen"):
        asyncio.run(start(config(bind="tcp://0.0.0.0:*")))
    asyncio.run(start(keys.config(bind="tcp://0.0.0.0:*")))


def test_keys_that_cannot_be_used_end_the_start_with_a_sentence(tmp_path: Path, keys: Keys) -> None:
    async def start(settings: Config) -> None:
        async with serving(tmp_path / "run", settings):
            pass

    with pytest.raises(KeyFileError, match="there is no folder"):
        asyncio.run(start(keys.config(allowed=str(tmp_path / "none"))))
    with pytest.raises(ConfigError, match="belong together"):
        config().with_service(key="agent.key_secret")


def test_keys_are_made_from_the_command_line(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["keygen", "afm-1", "--dir", str(tmp_path)])
    assert made.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"afm-1.key", "afm-1.key_secret"}
    again = CliRunner().invoke(app, ["keygen", "afm-1", "--dir", str(tmp_path)])
    assert again.exit_code == 2
