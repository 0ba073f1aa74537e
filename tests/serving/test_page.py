"""The page in a real browser, with real weights: each place does its main thing, and nothing outside is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from limner.faces.picture import read_picture
from limner.provenance.recipe import read_recipe
from serving.conftest import PHOTO, Running

PATIENCE = 240_000  # milliseconds: machines that do other things at the same time
QUICK = "2"  # steps
SLOW_UPLOADS = """() => {
    const asked = new Promise((done) => { window.letThrough = done; }), fetch = window.fetch;
    window.fetch = async (address, ...more) => {
        if (address === "/v1/uploads") await asked;
        return fetch(address, ...more);
    };
}"""
"""Keeps uploads waiting until ``letThrough()``."""
LATE_ENDS = """(() => {
    const fetch = window.fetch;
    window.ends = 0;
    window.fetch = async (resource, ...more) => {
        const answer = await fetch(resource, ...more);
        if (!String(resource?.url ?? resource).includes("/queue/data")) return answer;
        const late = new TransformStream({ async transform(chunk, controller) {
            if (new TextDecoder().decode(chunk).includes("close_stream")) {
                window.ends += 1;
                await new Promise((done) => setTimeout(done, 3000));
            }
            controller.enqueue(chunk);
        }});
        return new Response(answer.body.pipeThrough(late), answer);
    };
})()"""
"""Lets streams of messages end three seconds after the server ended them."""
ECHOED = """async () => {
    const regions = document.querySelector("#paint-map .lm-painter").dataset.regions;
    const element = document.createElement("div"), root = document.createElement("div"), props = { value: "" };
    Object.assign(root.dataset, { name: "echoed", regions });
    root.className = "lm-painter";
    element.append(root);
    document.body.append(element);
    let changed;
    limner.painter(element, () => {}, props, (name, tell) => { changed = tell; });
    const press = (key) => root.querySelector("canvas").dispatchEvent(new KeyboardEvent("keydown", { key }));
    const said = [];
    const note = () => said.push(Number(root.dataset.painted));
    press(" "); note();
    for (let k = 0; k < 5; k++) press("ArrowRight");
    press(" "); note();
    const two = props.value;
    press("z"); note();
    const one = props.value;
    props.value = two; await changed(); note();
    const now = Date.now;
    Date.now = () => now() + 60000;
    props.value = two; await changed(); note();
    Date.now = now;
    props.value = one; await changed(); note();
    press(" "); note();
    props.value = one; await changed(); note();
    press("z"); note();
    element.remove();
    return said;
}"""
"""Two dabs, the second undone; its value comes back late, again after a minute, and then the first's from elsewhere.
That is handed over a second time after another dab, and the dab undone."""
OTHER = PHOTO.with_name("face-10015.jpg")


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Every address that the pages asked for."""
    return []


@pytest.fixture(scope="module")
def page(browser: Browser, server: Running, asked: list[str]) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(server.url)
    yield opened
    assert not faults


def go(page: Page, place: str) -> None:
    page.get_by_role("tab", name=place, exact=True).first.click()


def choose(page: Page, picker: str, file: str = str(PHOTO)) -> None:
    page.locator(f"#{picker} input[type=file]").set_input_files(file)


def slide(page: Page, name: str, value: str) -> None:
    """Set a number, again where a tab that was just opened draws its fields anew."""
    field = page.locator(f"#{name} input[type=number]")
    for _ in range(5):
        field.fill(value)
        field.press("Tab")
        page.wait_for_timeout(300)
        if field.input_value() == value:
            return


def press_again(page: Page, button: str, note: Locator, said: str) -> None:
    """Click until the note says something else: while a button's last answer is still ending, clicks are skipped."""
    for _ in range(100):
        page.locator(f"#{button}").click()
        try:
            expect(note).not_to_contain_text(said, timeout=2000)
            return
        except AssertionError:
            continue


def drag(page: Page, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A stroke between two places given in shares of the canvas, once it lies still and in view."""
    canvas.hover()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * start[0], box["y"] + box["height"] * start[1])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end[0], box["y"] + box["height"] * end[1], steps=4)
    page.mouse.up()


def test_read(page: Page) -> None:
    go(page, "Read")
    choose(page, "read-photo")
    page.locator("#read-view .lm-viewer[data-ready]").wait_for()
    expect(page.locator("#read-facts")).to_contain_text("hair colour")
    canvas = page.locator("#read-view canvas")
    before = canvas.evaluate("each => each.toDataURL()")
    page.locator("#read-view").get_by_label("hair", exact=True).uncheck()
    without = canvas.evaluate("each => each.toDataURL()")
    page.locator("#read-view").get_by_label("landmarks").check()
    assert len({before, without, canvas.evaluate("each => each.toDataURL()")}) == 3


def test_ask(page: Page) -> None:
    go(page, "Ask")
    choose(page, "ask-photo")
    expect(page.locator("#ask-facts")).to_contain_text("hair colour")
    page.locator("#ask-question textarea, #ask-question input").first.fill("Is he smiling?")
    page.locator("#ask-send").click()
    said = page.locator("#ask-talk .bot, #ask-talk [data-testid=bot]").last
    expect(said).to_contain_text(re.compile(r"\w+ \w+.*\."))  # UniF²ace's own words


def test_values_that_come_late_or_twice_change_no_stroke(page: Page) -> None:
    go(page, "Paint")
    page.locator("#paint-map .lm-painter canvas").wait_for()
    one, two, undone, echoed, later, elsewhere, dabbed, twice, left = page.evaluate(ECHOED)
    assert 0 < one < two and undone == echoed == one
    assert later == two and elsewhere == one
    assert dabbed == twice == two and left == one


def test_paint_from_words_and_a_map_that_was_painted(page: Page, http: httpx.Client) -> None:
    go(page, "Paint")
    page.locator("#paint-words textarea").fill("a woman with red hair")
    page.locator("#paint-start input").click()
    page.get_by_role("option", name="Template 1").click()
    painted = page.locator("#paint-map .lm-painter")
    expect(painted).to_have_attribute("data-painted", re.compile(r"[1-9]\d{3,}"))
    before = painted.get_attribute("data-painted")
    page.locator("#paint-map").get_by_label("hat", exact=True).check(force=True)
    drag(page, page.locator("#paint-map canvas"), (0.02, 0.02), (0.98, 0.02))
    expect(painted).not_to_have_attribute("data-painted", before or "")
    page.locator("#paint-map").get_by_role("button", name="Undo").click()
    expect(painted).to_have_attribute("data-painted", before or "")
    page.locator("#paint-map").get_by_role("button", name="Redo").click()
    slide(page, "paint-steps", QUICK)
    page.locator("#paint-go").click()
    expect(page.locator("#paint-results .lm-picture")).to_have_count(4)
    expect(page.locator("#paint-note")).to_contain_text("Done in")
    made = page.locator("#paint-results .lm-picture").nth(1).get_attribute("data-id")
    recipe = http.get(f"/v1/pictures/{made}/recipe").json()
    assert recipe["text"] == "a woman with red hair" and recipe["mask"] and recipe["picture"] == 1


def test_stop_and_again_with_this_seed(page: Page, http: httpx.Client) -> None:
    go(page, "Paint")
    slide(page, "paint-steps", "100")
    page.locator("#paint-go").click()
    expect(page.locator("#paint-note")).to_contain_text(re.compile(r"Step \d+ of 100"))
    page.locator("#paint-stop").click()
    expect(page.locator("#paint-note")).to_contain_text("Cancelled")
    seed = page.locator("#paint-seed input").input_value()
    slide(page, "paint-steps", QUICK)
    page.locator("#paint-again").click()
    expect(page.locator("#paint-note")).to_contain_text("Done in")
    assert page.locator("#paint-seed input").input_value() == seed
    made = page.locator("#paint-results .lm-picture").first.get_attribute("data-id")
    assert http.get(f"/v1/pictures/{made}/recipe").json()["seed"] == int(seed)


def test_edit_a_shape_and_with_the_brush(page: Page, http: httpx.Client) -> None:
    go(page, "Edit")
    choose(page, "edit-photo")
    page.get_by_text("Steps and seed").click()
    slide(page, "edit-steps", QUICK)
    page.locator("#edit-shape").click()
    expect(page.locator("#edit-result .lm-pair img")).to_have_count(2)
    first = page.locator("#edit-result .lm-link").get_attribute("href")
    page.get_by_role("tab", name="Brush").click()
    page.locator("#edit-hole .lm-opening[data-ready]").wait_for()
    drag(page, page.locator("#edit-hole canvas"), (0.4, 0.5), (0.6, 0.6))
    page.locator("#edit-brush").click()
    expect(page.locator("#edit-result .lm-link")).not_to_have_attribute("href", first or "")
    made = page.locator("#edit-result .lm-link").get_attribute("href") or ""
    file = http.get(made).content
    assert read_recipe(file)["kind"] == "edit" and read_picture(file).shape == read_picture(PHOTO).shape


def test_edit_moves_and_swaps(page: Page, http: httpx.Client) -> None:
    result = page.locator("#edit-result .lm-link")
    photo, made = read_picture(PHOTO), result.get_attribute("href") or ""
    for tab, button in (("Move", "edit-move"), ("Swap", "edit-swap")):
        page.get_by_role("tab", name=tab, exact=True).click()
        if tab == "Move":
            slide(page, "edit-yaw", "20")
            page.locator(f"#{button}").click()
        else:
            choose(page, "edit-source", str(OTHER))
            expect(page.locator("#edit-source img")).to_be_visible()
            page.wait_for_timeout(1500)
            page.locator(f"#{button}").click()
            expect(page.locator("#edit-note")).to_contain_text("Tick the box if they did")
            page.locator("#edit-consent").get_by_label("They agreed").check()
            press_again(page, button, page.locator("#edit-note"), "Tick the box")
        expect(result).not_to_have_attribute("href", made)
        made = result.get_attribute("href") or ""
        file = http.get(made).content
        same = (read_picture(file) == photo).all(2)
        assert 0.2 < same.mean() < 0.98 and same[:32, :32].all()
        recipe = read_recipe(file)
        plan, consent = recipe["plan"], recipe.get("consent")
        assert consent == (None if tab == "Move" else "studio")
        assert plan["sliders"] == ({"yaw": 20.0} if tab == "Move" else {})
        assert plan["factors"].get("identity") == (None if tab == "Move" else "source")


def test_a_button_waits_for_a_photo_on_its_way(page: Page) -> None:
    page.get_by_role("tab", name="Regions", exact=True).click()
    page.evaluate(SLOW_UPLOADS)
    choose(page, "edit-donor", str(OTHER))
    page.locator("#edit-regions").click()
    expect(page.locator("#edit-regions")).to_have_attribute("aria-busy", "true")
    page.evaluate("letThrough()")
    expect(page.locator("#edit-note")).to_contain_text("Choose regions to transfer or to erase first")
    expect(page.locator("#edit-regions")).not_to_have_attribute("aria-busy", "true")


def test_an_event_that_joins_while_the_stream_ends_is_answered(browser: Browser, server: Running) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(LATE_ENDS)
    page.goto(server.url)
    go(page, "Edit")
    page.get_by_role("tab", name="Move", exact=True).click()
    choose(page, "edit-photo")
    page.wait_for_function("window.ends > 0", timeout=PATIENCE)  # the server's stream has ended, the page's has not
    page.locator("#edit-move").click()
    expect(page.locator("#edit-note")).to_contain_text("Set at least one slider first", timeout=30_000)
    page.close()


def test_gallery_gives_settings_back(page: Page, http: httpx.Client, tmp_path) -> None:
    job = http.post("/v1/paint", params={"wait": 60}, json={"text": "a bald man", "steps": 2, "seed": 77}).json()
    while job["state"] in ("queued", "running"):
        job = http.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
    made = job["pictures"][0]
    go(page, "Gallery")
    page.locator(f"#gallery-made [data-id={made['id']}]").click()
    expect(page.locator("#gallery-detail a")).to_have_attribute("href", f"{made['url']}?download=yes")
    (tmp_path / "dropped.png").write_bytes(http.get(made["url"]).content)
    choose(page, "gallery-drop", str(tmp_path / "dropped.png"))
    expect(page.locator("#gallery-detail img")).not_to_have_attribute("src", made["url"])
    page.locator("#gallery-use").click()
    expect(page.locator("#paint-words textarea")).to_have_value("a bald man")
    expect(page.locator("#paint-seed input")).to_have_value("77")
    expect(page.locator("#paint-words")).to_be_visible()


def test_phone_width_and_keys(browser: Browser, server: Running, asked: list[str]) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark", has_touch=True)
    phone.set_default_timeout(PATIENCE)
    phone.on("request", lambda request: asked.append(request.url))
    phone.goto(server.url)
    phone.get_by_role("tab", name="Read", exact=True).first.wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("tab", name="Read", exact=True).first.focus()
    phone.keyboard.press("Tab")
    assert phone.evaluate("document.activeElement.tagName") in ("BUTTON", "A")
    dark = "document.body.classList.contains('dark') || document.documentElement.classList.contains('dark')"
    phone.wait_for_function(dark)
    toggle = phone.get_by_role("button", name="Light / dark")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    phone.wait_for_function(f"!({dark})")
    phone.close()


def test_nothing_outside_was_asked(page: Page, server: Running, asked: list[str]) -> None:
    assert len(asked) > 20
    strangers = {url for url in asked if not url.startswith((f"{server.url}/", "data:", "blob:"))}
    assert not strangers


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/GRADIO_API/file=/etc/passwd",
        "/file=/etc/passwd",
        "//gradio_api/file=/etc/passwd",
        "/./gradio_api/file=/etc/passwd",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/v1/pictures/..%2f..%2fetc%2fpasswd",
        "/gradio_api/upload_progress?upload_id=../x",
    ],
)
def test_no_file_of_the_machine_is_served(server: Running, path: str) -> None:
    import socket

    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain:  # as written: a client would tidy the path
        plain.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    assert answer.split(b" ")[1][:1] == b"4", answer[:200]
    assert b"root:" not in answer


def test_uploads_go_by_the_api_only(http: httpx.Client) -> None:
    assert http.post("/gradio_api/upload", files={"files": PHOTO.read_bytes()}).status_code == 404
