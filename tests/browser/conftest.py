"""Headless Chromium; a page fails the test if it logs an error or sends a request to another host."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser.served import Served, served, with_hand_made_decisions

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # no other host can be reached
)
#: What the browser itself logs on failed requests, which the tests cause on purpose.
_EXPECTED = ("Failed to load resource", "net::ERR")
Opens = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium per test file: while it exists its event loop runs, and no other can."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Function that opens a page; afterwards no page may have logged an error or contacted another host."""
    errors: list[str] = []
    contexts = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            errors.append(f"{message.type}: {message.text}")

    def open_page(address: str, token: str | None = "", width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)

        def on_request(request: Request) -> None:
            if urlsplit(request.url).netloc != urlsplit(address).netloc:
                errors.append(f"request to {request.url}")

        context.on("request", on_request)
        page = context.new_page()
        page.set_default_timeout(6000)
        page.on("console", on_console)
        page.on("pageerror", lambda error: errors.append(f"error: {error}"))
        page.goto(f"{address}/" + (f"#token={token}" if token else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service in review mode with hand-made decisions."""
    with_hand_made_decisions(monkeypatch)
    with served(tmp_path / "run") as service:
        yield service
