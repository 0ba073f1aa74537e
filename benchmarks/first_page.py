"""How soon the studio's page can be used; writes results/first-page.json.

    python benchmarks/first_page.py [--visits 10]

Starts `limner studio` on loopback and visits it in an installed Chromium. A first visit is a browser that has never
been there (an empty cache); the visit after it is the same browser again. Timed from the navigation until a photograph
can be dropped on the Read page: the picker is drawn by its script.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from limner.evaluation.results import store_result

USABLE = "#read-photo button.lm-drop"
PATIENCE = 60_000  # milliseconds


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python benchmarks/first_page.py", description=__doc__)
    parser.add_argument("--visits", type=int, default=10, help="visits of each kind")
    parser.add_argument("--out", type=Path, default=Path("results/first-page.json"), help="file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "limner", "studio", "--no-browser", "--port", "0", "--folder", folder]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            if found is None:
                raise SystemExit("the studio did not start: run `limner studio` to see why")
            ready = time.perf_counter() - begun
            first, again = visits(found[0], given.visits)
        finally:
            process.terminate()
            process.wait(60)
    figures = {"start_seconds": ready}
    for name, times in (("first", first), ("again", again)):
        figures |= {f"{name}_median_seconds": statistics.median(times), f"{name}_worst_seconds": max(times)}
    command_line = f"python benchmarks/first_page.py --visits {given.visits}"
    store_result(given.out, command_line, figures, None, {"visits": given.visits})
    for name, value in figures.items():
        print(f"{name}: {value:.2f}")


def visits(url: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds of first visits and of the visits after them."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        first, again = [], []
        for _ in range(count):
            context = browser.new_context(viewport={"width": 1280, "height": 960})
            first.append(visit(context, url))
            again.append(visit(context, url))
            context.close()
        browser.close()
    return first, again


def visit(context: BrowserContext, url: str) -> float:
    """Seconds until the page of a new tab can be used."""
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator(USABLE).wait_for(timeout=PATIENCE)
    taken = time.perf_counter() - begun
    page.close()
    return taken


if __name__ == "__main__":
    main()
