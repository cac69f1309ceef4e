"""Screenshots of the dashboard in each of its states, with a real agent, the simulated microscope and a headless browser.

`python -m benchmarks.dashboard.pictures --out docs/pictures` writes `dashboard-STATE.png`, small enough for the docs.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from agent.history.run_directory import page_address
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DESK, PHONE = (1440, 900), (390, 844)
LARGEST_BYTES = 250_000
_TIMEOUT_MS = 600_000
_CONFIG = """
[search]
windows_px = [11, 15, 21]
seeds = 2
[train]
steps = 200
[recommend]
points_per_cluster = 3
[approval]
mode = "review"
"""


@contextlib.contextmanager
def process(arguments: Sequence[object], log: Path) -> Iterator[None]:
    """Run `python -m` with these arguments until the context is left; the output goes to `log`."""
    with log.open("ab") as file:
        running = subprocess.Popen([sys.executable, "-m", *map(str, arguments)], stdout=file, stderr=file)
        try:
            yield
        finally:
            running.terminate()
            running.wait(30)


@contextlib.contextmanager
def agent(directory: Path) -> Iterator[tuple[str, str]]:
    """Run an agent; yields the address of its dashboard with the token, and the address for instruments."""
    run, config = directory / "run", directory / "config.toml"
    config.write_text(_CONFIG)
    addresses = ["--bind", "tcp://127.0.0.1:*", "--telemetry", "tcp://127.0.0.1:*", "--http", "127.0.0.1:0"]
    with process(["agent", "serve", "--dashboard", "--run", run, "--config", config, *addresses], directory / "agent.log"):
        until = time.monotonic() + 90
        while not (run / "service.json").exists():
            if time.monotonic() > until:
                raise SystemExit(f"the agent did not start within 90 s; see {directory / 'agent.log'}")
            time.sleep(0.1)
        state = json.loads((run / "service.json").read_text())
        yield page_address(state["http"], run), state["bind"]


def simulated(bind: str, directory: Path, *options: object) -> contextlib.AbstractContextManager[None]:
    """Run the simulated microscope, connected to `bind`."""
    spool = directory / "spool"
    return process(
        ["simulators", "--connect", bind, "--spool", spool, "--speed", "50", "--no-latency", *options],
        directory / "simulator.log",
    )


class Camera:
    """Opens pages and takes screenshots."""

    def __init__(self, browser: Browser, out: Path) -> None:
        self._browser, self._out = browser, out

    def page(self, address: str, size: tuple[int, int] = DESK, *, dark: bool = False) -> Page:
        """A page in a browser context of its own; the operator's name is Eva."""
        options = {"is_mobile": True, "has_touch": True, "device_scale_factor": 2} if size == PHONE else {}
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", **options
        )
        context.add_init_script("sessionStorage.setItem('vaestar-name', 'Eva')")
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        page.goto(address)
        return page

    def take(self, page: Page, name: str) -> None:
        """Save a screenshot, with as many colours as the size limit allows."""
        page.wait_for_timeout(700)
        picture = Image.fromarray(_fewer_greys(np.array(Image.open(BytesIO(page.screenshot())).convert("RGB"))))
        for colours in (0, 256, 128, 64):
            small = picture.quantize(colours, dither=Image.Dither.NONE) if colours else picture
            file = BytesIO()
            small.save(file, format="png", optimize=True)
            if file.tell() <= LARGEST_BYTES:
                break
        path = self._out / f"dashboard-{name}.png"
        path.write_bytes(file.getvalue())
        print(f"{path}: {len(file.getvalue()) // 1000} kB")


def _fewer_greys(pixels: UInt8[np.ndarray, "rows cols 3"]) -> UInt8[np.ndarray, "rows cols 3"]:
    """Reduce the grey levels, of which the scan has so many that the palette would have no room for colours."""
    grey = np.ptp(pixels, axis=2) == 0
    pixels[grey] = np.minimum(pixels[grey] // 7 * 7 + 3, 255)
    return pixels


def point_at(page: Page, number: int) -> None:
    """Select the `number`-th target on the scan with the keyboard."""
    for _ in range(number):
        page.keyboard.press("ArrowRight")


def first_cycle(camera: Camera, directory: Path, options: Sequence[object]) -> None:
    """Screenshots of the first cycle, from the empty page to measured loops."""
    with agent(directory) as (address, bind):
        page = camera.page(address)
        page.wait_for_selector("#empty:not([hidden])")
        camera.take(page, "empty")
        with simulated(bind, directory, *options):
            page.wait_for_selector("#progress:not([hidden])")
            page.wait_for_selector("#progress:has-text('training')")
            page.wait_for_timeout(4000)
            camera.take(page, "searching")
            page.wait_for_selector("#approve-bar:not([hidden])")
            point_at(page, 2)
            camera.take(page, "approval")
            page.keyboard.press("2")
            page.evaluate("document.getElementById('below').scrollIntoView()")
            camera.take(page, "candidates")
            dark = camera.page(address, dark=True)
            dark.wait_for_selector("#approve-bar:not([hidden])")
            point_at(dark, 4)
            camera.take(dark, "dark")
            phone = camera.page(address, PHONE)
            phone.wait_for_selector("#approve-bar:not([hidden])")
            camera.take(phone, "phone")
            page.evaluate("scrollTo(0, 0)")
            page.keyboard.press("Enter")
            page.wait_for_selector("#ask[open]")
            page.keyboard.press("Enter")
            page.wait_for_selector("#places-state:has-text('measured')")
            page.keyboard.press("1")
            page.keyboard.press("Escape")
            page.evaluate("import('/static/store.js').then(({ set, state }) => set({ pinned: state.scan.scan_id }))")
            page.evaluate("document.getElementById('notice').hidden = true")
            page.set_viewport_size({"width": DESK[0], "height": 1290})
            page.wait_for_selector("#tab-loops .main-svg")
            camera.take(page, "measured")


def scanning(camera: Camera, directory: Path, _options: Sequence[object]) -> None:
    """Screenshot of a frame that grows line by line; replayed, since the simulated microscope sends only complete frames."""
    saved = directory / "saved"
    saved.mkdir()
    microscope = SimulatedMFP3D(MFP3DConfig(seed=0), clock=SimulatedClock(None), folder=saved)
    microscope.scan()
    microscope.close()
    with agent(directory) as (address, bind):
        page = camera.page(address)
        replay = ["instrument_adapters", "replay", saved, "--connect", bind, "--spool", directory / "spool", "--speed", "30"]
        with process(replay, directory / "replay.log"):
            page.wait_for_selector("#scan-name:has-text('of 256 lines')")
            page.wait_for_timeout(11_000)
            camera.take(page, "scanning")


def fault(camera: Camera, directory: Path, options: Sequence[object]) -> None:
    """A scan that cannot be used for a decision, and an emergency stop after it."""
    with agent(directory) as (address, bind):
        page = camera.page(address)
        with simulated(bind, directory, *options, "--fault", "swapped_labels@1", "--cycles", "1"):
            page.wait_for_selector("#summary .lead:has-text('cannot be used')")
            page.keyboard.press("Shift+S")
            page.wait_for_selector("#state:has-text('emergency stop')")
            page.keyboard.press("3")
            page.wait_for_timeout(600)
            camera.take(page, "fault")


def main() -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the screenshots")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="path of the browser")
    parser.add_argument("--only", choices=["scanning", "cycle", "fault"], help="take only some of the screenshots")
    arguments, options = parser.parse_known_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        camera = Camera(browser, arguments.out)
        for name, take in (("scanning", scanning), ("cycle", first_cycle), ("fault", fault)):
            if arguments.only in (None, name):
                directory = Path(folder) / name
                directory.mkdir()
                take(camera, directory, options)
        browser.close()


if __name__ == "__main__":
    main()
