"""Latency of the dashboard while models train, and start-up time of the demo.

`python -m benchmarks.dashboard --out DIR` triggers events for half a minute during a search on two workers and times each from
its recording until the page has drawn it. Then it starts `vaestar demo` and times it until the page shows a scan.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.dashboard.pictures import FLAGS, agent, simulated
from benchmarks.harness.outcome import Outcome, write

_WATCH = """async () => {
  const { on, state } = await import("/static/store.js");
  window.shown = {};
  on("timeline", () => { for (const e of state.timeline) window.shown[e.seq] ??= [Date.now(), e.at]; });
}"""
_COMMAND = """([command, token]) => fetch(`/api/${command}`, {
  method: "POST", body: JSON.stringify({ by: "benchmark", reason: "timing" }),
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
}).then((answer) => answer.status)"""


def main() -> None:
    """Measure, and write `dashboard.json` and `dashboard.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="path of the browser")
    parser.add_argument("--words", dest="events", type=int, default=30, help="number of events to time")
    parser.add_argument("--out", type=Path, required=True, help="directory for the JSON and Markdown files")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    load = os.getloadavg()[0]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        (Path(folder) / "search").mkdir()
        late_ms = sorted(_while_training(browser, Path(folder) / "search", arguments.events))
        up_s, scan_s, data_s = _demo(browser, Path(folder) / "demo")
        browser.close()
    figures: dict[str, float | None] = {
        "events": float(len(late_ms)),
        "event_ms_median": statistics.median(late_ms),
        "event_ms_95_percent": late_ms[int(0.95 * len(late_ms))],
        "event_ms_max": late_ms[-1],
        "page_up_s": up_s,
        "first_data_after_first_scan_s": data_s - scan_s,
    }
    notes = [
        "Events: time from recording until the page has drawn it, while the default search trains on both cores.",
        "Page up: time from the start of `vaestar demo` until the page is live; all packages are installed.",
        f"The browser shares the two cores with agent and training. Load average before the start: {load:.1f}.",
    ]
    write(Outcome("dashboard", "The page", figures, {"event_ms": late_ms}, {}, notes), arguments.out, ())


def _while_training(browser: Browser, directory: Path, events: int) -> list[float]:
    """Milliseconds from the recording of each event until the page shows it."""
    with agent(directory) as (address, bind), simulated(bind, directory, "--speed", "event"):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#progress:not([hidden])", timeout=300_000)
        page.evaluate(_WATCH)
        token = address.partition("#token=")[2]
        before = page.evaluate("import('/static/store.js').then(({ state }) => state.run.seq)")
        for i in range(events):
            assert page.evaluate(_COMMAND, ["resume" if i % 2 else "pause", token]) == 200
            page.wait_for_timeout(900)
        assert page.is_visible("#progress"), "the search ended before all events were timed; use a smaller --words"
        shown = page.evaluate("window.shown")
        page.close()
    return [
        at - 1000 * datetime.fromisoformat(recorded_at).timestamp()
        for seq, (at, recorded_at) in shown.items()
        if int(seq) > before
    ]


def _demo(browser: Browser, directory: Path) -> tuple[float, float, float]:
    """Seconds from the start of `vaestar demo` until its page is live, the first scan is recorded, and the page shows it."""
    began = time.time()
    command = [sys.executable, "-m", "agent", "demo", "--run", str(directory), "--cycles", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        address = next(found[1] for line in demo.stdout if (found := re.match(r"dashboard: (\S+)", line)))
        page: Page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#live.good")
        up_s = time.time() - began
        page.wait_for_selector("#scan-name:has-text('scan-0001')", timeout=300_000)
        page.wait_for_function("() => document.querySelector('body:not(.empty)') !== null")
        data_s = time.time() - began
        at = page.evaluate("import('/static/store.js').then(({ state }) => state.scan.at)")
        page.close()
        demo.send_signal(signal.SIGINT)  # the demo then stops its two processes
        demo.stdout.read()
    return up_s, datetime.fromisoformat(at).timestamp() - began, data_s


if __name__ == "__main__":
    main()
