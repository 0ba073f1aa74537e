"""Markup in words, file names and recipes is shown in a real browser, and never run."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, expect

from limner.faces.picture import read_picture, save_png
from limner.provenance.recipe import KEY
from serving.conftest import PHOTO, Running

PATIENCE = 240_000  # milliseconds
EVIL = (
    '<img src=x onerror="window.ran=1"><svg onload="window.ran=1"></svg><script>window.ran=1</script>'
    '"\'><iframe srcdoc="<script>parent.ran=1</script>"></iframe><a href="javascript:window.ran=1">x</a>'
)
PAINTED = """a smiling woman with grey hair and glasses <img src=x onerror="window.ran=1">"""
"""Markup among words that are understood well enough for it to be kept."""


@pytest.mark.slow
def test_markup_of_strangers_is_never_run(
    browser: Browser, server: Running, http: httpx.Client, tmp_path: Path
) -> None:
    job = http.post("/v1/paint", params={"wait": 60}, json={"text": PAINTED, "steps": 1, "seed": 5}).json()
    while job["state"] in ("queued", "running"):
        job = http.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
    made = job["pictures"][0]["id"]
    forged = {"limner": EVIL, "engine": EVIL, "text": EVIL, "seed": 1, EVIL: EVIL, "nested": {"x": [EVIL]}}
    forged["engine"] = "mditface"
    named = tmp_path / "<img src=x onerror=window.ran=1>.png"
    save_png(named, read_picture(PHOTO), {KEY: json.dumps(forged)})

    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(server.url)
    page.get_by_role("tab", name="Gallery", exact=True).first.click()
    page.locator(f"#gallery-made [data-id={made}]").click()
    expect(page.locator("#gallery-detail")).to_contain_text("<img src=x", timeout=PATIENCE)
    expect(page.locator("#gallery-recipe")).to_contain_text("window.ran", timeout=PATIENCE)
    page.locator("#gallery-drop input[type=file]").set_input_files(str(named))
    expect(page.locator("#gallery-detail")).to_contain_text("<img src=x", timeout=PATIENCE)
    page.locator("#gallery-use").click()  # its settings are not complete: an error that is shown
    page.get_by_role("tab", name="Ask", exact=True).first.click()
    page.locator("#ask-question textarea, #ask-question input").first.fill(EVIL)
    page.locator("#ask-send").click()
    expect(page.locator("#ask-talk")).to_contain_text("Choose a photo first", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    assert page.evaluate("window.ran") is None and not dialogs
    assert page.locator("[onerror], [onload], iframe[srcdoc], a[href^=javascript]").count() == 0
    page.goto(f"{server.url}/v1/pictures/{made}")
    page.goto(f"{server.url}/v1/jobs/{job['id']}")  # JSON, opened in a tab
    assert page.evaluate("window.ran") is None and page.evaluate("document.contentType") == "application/json"
    page.close()
