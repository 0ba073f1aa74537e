"""The studio's pictures in the documents: docs/images/studio-*.jpg.

    python tools/studio_pictures.py

Starts a studio on this machine with an empty folder, does the main thing of each place in an installed Chromium, and
takes a picture of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

import limner
from limner.faces.geometry import resize
from limner.faces.picture import encode_jpeg, read_picture
from limner.files import write_bytes_atomic

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "face-10018.jpg"
PATIENCE = 900_000  # milliseconds


def main() -> None:
    """The command line above."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "limner", "studio", "--no-browser", "--port", "0", "--folder", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert found is not None, "the studio did not start"
            with sync_playwright() as driver:
                args = ["--no-sandbox", "--disable-gpu"]
                browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=args)
                expect.set_options(timeout=PATIENCE)
                visit(browser, found[0])
                browser.close()
        finally:
            process.terminate()
            process.wait(120)


def visit(browser: Browser, url: str) -> None:
    """Every place, light; the gallery and a phone, dark."""
    page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.locator("#read-photo input[type=file]").set_input_files(str(PHOTO))
    page.locator("#read-view .lm-viewer[data-ready]").wait_for()
    keep(page, "read")
    place(page, "Ask")
    page.locator("#ask-photo input[type=file]").set_input_files(str(PHOTO))
    expect(page.locator("#ask-facts")).to_contain_text("hair colour")
    page.locator("#ask-question textarea, #ask-question input").first.fill("What do you see?")
    page.locator("#ask-send").click()
    expect(page.locator("#ask-talk")).to_contain_text(re.compile(r"(\S+ ){8}"))
    keep(page, "ask")
    place(page, "Paint")
    page.locator("#paint-words textarea").fill("a smiling woman with grey hair")
    page.locator("#paint-start input").click()
    page.get_by_role("option", name="Template 2").click()
    expect(page.locator("#paint-map .lm-painter")).to_have_attribute("data-painted", re.compile(r"\d{4,}"))
    slide(page, "paint-steps", "16")
    page.locator("#paint-go").click()
    expect(page.locator("#paint-results .lm-picture")).to_have_count(4)
    page.mouse.click(5, 5)
    keep(page, "paint")
    place(page, "Edit")
    page.locator("#edit-photo input[type=file]").set_input_files(str(PHOTO))
    page.locator("#edit-words textarea").fill("a man with red hair")
    page.locator("#edit-shape").click()
    expect(page.locator("#edit-result .lm-pair img")).to_have_count(2)
    keep(page, "edit")
    before = page.locator("#edit-result .lm-link").get_attribute("href") or ""
    page.get_by_role("tab", name="Move", exact=True).click()
    page.locator("#edit-words textarea").fill("")
    slide(page, "edit-yaw", "-25")
    page.locator("#edit-move").click()
    expect(page.locator("#edit-result .lm-link")).not_to_have_attribute("href", before)
    expect(page.locator("#edit-result .lm-pair img")).to_have_count(2)
    keep(page, "move")
    dark = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="dark")
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
    for other, name in ((dark, "gallery"), (phone, "phone")):
        other.set_default_timeout(PATIENCE)
        other.goto(url)
        if name == "gallery":
            place(other, "Gallery")
            other.locator("#gallery-made .lm-picture").first.click()
            expect(other.locator("#gallery-detail a")).to_be_visible()
        else:
            place(other, "Paint")
        keep(other, name)


def place(page: Page, name: str) -> None:
    """Go to a place."""
    page.get_by_role("tab", name=name, exact=True).first.click()


def slide(page: Page, name: str, value: str) -> None:
    """Set a slider by its number."""
    field = page.locator(f"#{name} input[type=number]")
    field.fill(value)
    field.press("Tab")


def keep(page: Page, name: str) -> None:
    """A picture of what the window shows, when all of it is drawn."""
    page.wait_for_function("[...document.images].every((image) => image.complete || image.loading === 'lazy')")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1500)
    picture = read_picture(page.screenshot())
    height, width = picture.shape[:2]
    if width > 1000:
        picture = resize(picture, (1000, round(height * 1000 / width)))
    write_bytes_atomic(IMAGES / f"studio-{name}.jpg", encode_jpeg(picture, 82))


if __name__ == "__main__":
    main()
