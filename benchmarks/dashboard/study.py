"""How soon the page shows what happens while models train, and how soon it is there after the demo was started.

`python -m benchmarks.dashboard --out DIR` measures both: events are told for half a minute of a search on two workers, each timed
from when it was recorded until the page has drawn it; then `vaestar demo` is started, and timed until its page shows a scan.
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
_SAY = """([word, token]) => fetch(`/api/${word}`, {
  method: "POST", body: JSON.stringify({ by: "benchmark", reason: "timing" }),
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
}).then((answer) => answer.status)"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser")
    parser.add_argument("--words", type=int, default=30, help="events to time")
    parser.add_argument("--out", type=Path, required=True, help="directory of the JSON and the Markdown file")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    load = os.getloadavg()[0]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        (Path(folder) / "search").mkdir()
        late_ms = sorted(_while_training(browser, Path(folder) / "search", arguments.words))
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
        "Events: from when one was recorded until the page has drawn it, while the default search trains on both cores.",
        "Page up: from the start of `vaestar demo` on an installed machine until the page says that it is live.",
        f"The browser shares the two cores with agent and training. Load before anything was started: {load:.1f}.",
    ]
    write(Outcome("dashboard", "The page", figures, {"event_ms": late_ms}, {}, notes), arguments.out, ())


def _while_training(browser: Browser, directory: Path, words: int) -> list[float]:
    """Milliseconds from each event's record to the page."""
    with agent(directory) as (address, bind), simulated(bind, directory, "--speed", "event"):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#progress:not([hidden])", timeout=300_000)
        page.evaluate(_WATCH)
        token = address.partition("#token=")[2]
        before = page.evaluate("import('/static/store.js').then(({ state }) => state.run.seq)")
        for i in range(words):
            assert page.evaluate(_SAY, ["resume" if i % 2 else "pause", token]) == 200
            page.wait_for_timeout(900)
        assert page.is_visible("#progress"), "the search ended before all was measured; let it train for longer"
        shown = page.evaluate("window.shown")
        page.close()
    return [at - 1000 * datetime.fromisoformat(told).timestamp() for seq, (at, told) in shown.items() if int(seq) > before]


def _demo(browser: Browser, directory: Path) -> tuple[float, float, float]:
    """Seconds after the start of `vaestar demo`: its page is up, the first scan is recorded, the page shows it."""
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
        demo.send_signal(signal.SIGINT)  # it ends its two processes in order
        demo.stdout.read()
    return up_s, datetime.fromisoformat(at).timestamp() - began, data_s


if __name__ == "__main__":
    main()
