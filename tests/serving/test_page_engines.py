"""The page over engines with weights of their own, tiny and real: words as they come, previews of an edit."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from facex.tiny import write_editor
from limner.serving.limits import Limits
from serving.conftest import Running
from serving.test_page import PATIENCE, choose, go, press_again, slide
from unif2ace.parts import write_tiny


@contextmanager
def opened(browser: Browser, running: Running) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(running.url)
    yield page
    assert not faults
    page.close()


def test_ask_shows_words_as_they_come_and_stops(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("talking")
    tokens: list[float] = []

    def count(*_: Any) -> None:
        tokens.append(time.monotonic())
        time.sleep(0.05)

    with (
        Running(Limits(folder=folder / "jobs"), source=str(write_tiny(folder)), page=True) as running,
        opened(browser, running) as page,
    ):
        server = running.app.state.server
        with server.engines.talking("ask") as model:
            model.answerer.components.model.register_forward_hook(count)
        go(page, "Ask")
        choose(page, "ask-photo")
        expect(page.locator("#ask-facts")).to_contain_text("hair colour")
        page.locator("#ask-question textarea, #ask-question input").first.fill("Is he smiling?")
        page.locator("#ask-send").click()
        said = page.locator("#ask-talk .bot, #ask-talk [data-testid=bot]").last
        expect(said).to_have_text(re.compile(r"[^\s…].{3}"))
        assert server._under_way == 1  # it is shown while it is written
        page.locator("#ask-stop").click()
        while server._under_way:
            time.sleep(0.01)
        assert len(tokens) < 150  # of 200
        kept = said.inner_text()
        time.sleep(0.5)
        assert said.inner_text() == kept and len(kept.strip()) > 3
        choose(page, "ask-photo")  # another photo, another conversation
        expect(page.locator("#ask-talk .bot, #ask-talk [data-testid=bot]")).to_have_count(0)


def test_edit_shows_previews(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("editing")
    with (
        Running(Limits(folder=folder / "jobs"), source=str(write_editor(folder / "weights")), page=True) as running,
        opened(browser, running) as page,
    ):
        go(page, "Edit")
        choose(page, "edit-photo")
        page.get_by_role("tab", name="Move").click()
        page.locator("#edit-move").click()
        expect(page.locator("#edit-note")).to_contain_text("Set at least one slider first")
        page.get_by_text("Steps and seed").click()
        slide(page, "edit-steps", "100")
        slide(page, "edit-smile", "0.5")
        press_again(page, "edit-move", page.locator("#edit-note"), "Set at least one slider first")
        shown = page.locator("#edit-result .lm-preview img")
        expect(shown).to_have_attribute("src", re.compile("^data:image/jpeg;base64,"))
        assert shown.evaluate("each => each.naturalWidth / each.naturalHeight") == pytest.approx(1.0, abs=0.5)
        expect(page.locator("#edit-result .lm-pair img")).to_have_count(2)
        expect(page.locator("#edit-note")).to_contain_text("Done in")


def test_edit_changes_regions(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("regions")
    with (
        Running(Limits(folder=folder / "jobs"), source=str(write_editor(folder / "weights")), page=True) as running,
        opened(browser, running) as page,
    ):
        go(page, "Edit")
        choose(page, "edit-photo")
        page.get_by_text("Steps and seed").click()
        slide(page, "edit-steps", "2")
        page.get_by_role("tab", name="Regions").click()
        note = page.locator("#edit-note")
        page.locator("#edit-regions").click()
        expect(note).to_contain_text("Choose regions to transfer or to erase first")
        page.locator("#edit-taken").get_by_label("brows").check()
        press_again(page, "edit-regions", note, "Choose regions to transfer or to erase first")
        expect(note).to_contain_text("the source of the regions")
        choose(page, "edit-donor")
        page.locator("#edit-erased").get_by_label("lips").check()
        press_again(page, "edit-regions", note, "the source of the regions")
        expect(note).to_contain_text("Tick the box if they did")
        page.locator("#edit-consent-regions").get_by_label("They agreed").check()
        press_again(page, "edit-regions", note, "Tick the box")
        expect(page.locator("#edit-result .lm-pair img")).to_have_count(2)
        expect(note).to_contain_text("Done in")
        asked = running.app.state.server.table.latest(1)[0].request
        plan = asked["plan"]
        assert (
            asked["consent"] == "studio" and plan["repaint"] == ["brows", "lips"] and plan["factors"]["lips"] == "none"
        )
        assert plan["factors"]["brows"].startswith("pic_")
        page.get_by_role("tab", name="Swap", exact=True).click()
        expect(page.locator("#edit-consent").get_by_label("They agreed")).to_be_checked()
