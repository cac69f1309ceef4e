"""A headless Chromium and, in it, pages that may neither complain nor ask anybody but the agent."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser.served import Served, deciding_by_hand, served

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # nobody else can be asked
)
#: What a browser itself writes when an answer is not "ok" or nobody answers: these are tested for.
_EXPECTED = ("Failed to load resource", "net::ERR")
Opens = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a file, no longer: while it is there an event loop runs, and no other can."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Opens the page of an address; at the end nothing may have been complained of, and nobody else asked."""
    complaints: list[str] = []
    contexts = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            complaints.append(f"{message.type}: {message.text}")

    def open_page(address: str, token: str | None = "", width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)

        def asked(request: Request) -> None:
            if urlsplit(request.url).netloc != urlsplit(address).netloc:
                complaints.append(f"asked {request.url}")

        context.on("request", asked)
        page = context.new_page()
        page.set_default_timeout(6000)
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.goto(f"{address}/" + (f"#token={token}" if token else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service in review mode, which decides by hand."""
    deciding_by_hand(monkeypatch)
    with served(tmp_path / "run") as made:
        yield made
