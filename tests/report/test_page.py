"""The page in a real browser: screenshots, and what a script from outside measures in it."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support import fleets, requirements, screenshots

from deploy.report import files
from deploy.report.fleet import Fleet

PHONE = 360
FLEETS = {"one-host": fleets.healthy(), "two-hundred": fleets.two_hundred(), "hostile": fleets.hostile()}

Browser = Callable[..., bytes]


@pytest.fixture(scope="session")
def chromium() -> str:
    found = screenshots.chromium()
    if found is None:
        requirements.missing("no Chromium on this machine; on Debian: apt-get install chromium")
    return found


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> Browser:
    """Open a page in a new, empty profile: `browser(text, "--screenshot=FILE")` gives what the browser prints."""

    def run(page: str, *switches: str) -> bytes:
        return screenshots.open_in(chromium, page, tmp_path, *switches)

    return run


def test_the_picture_in_the_readme_is_of_this_page() -> None:
    with Image.open(screenshots.FILE) as image:
        assert image.info["page"] == screenshots.digest(), "the page has changed; run `cd tests && python -m support.screenshots`"


def page_of(fleet: Fleet) -> str:
    return files.render(fleet)["verify.html"].decode()


def framed(page: str, width: int, height: int, script: str = "") -> str:
    """The page in a frame: a headless window can't be as narrow as a phone, and only a script outside can measure."""
    frame = f'<iframe style="border:0;display:block;width:{width}px;height:{height}px" srcdoc="{html.escape(page)}"></iframe>'
    return f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{frame}<p id="measured"></p><script>{script}</script>'


def measure(browser: Browser, page: str, width: int, expression: str) -> list[str]:
    """The values of a JavaScript expression over `page`, the page's document at that width."""
    script = f"""onload = () => {{
        const page = document.querySelector("iframe").contentDocument;
        document.getElementById("measured").textContent = [{expression}].flat().join("|");
    }}"""
    dom = browser(framed(page, width, 4000, script), "--dump-dom", "--window-size=1300,900").decode()
    match = re.search(r'<p id="measured">(.*?)</p>', dom, re.DOTALL)
    assert match is not None
    return html.unescape(match[1]).split("|")


def screenshot(browser: Browser, page: str, file: Path, width: int, height: int, *switches: str) -> Image.Image:
    browser(page, f"--screenshot={file}", f"--window-size={width},{height}", *switches)
    return Image.open(io.BytesIO(file.read_bytes())).convert("RGB")


def brightness(image: Image.Image) -> float:
    """Mean of the pixels, 0 to 255."""
    histogram = image.convert("L").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / sum(histogram)


def reddish(image: Image.Image) -> int:
    """Pixels in which red clearly leads: what is broken."""
    small = image.resize((image.width // 2, image.height // 2))
    return sum(count for count, (r, g, b) in small.getcolors(1 << 24) or [] if r > g + 60 and r > b + 60)


@pytest.mark.everything
def test_on_a_desktop_the_page_is_light_and_what_is_broken_is_red(browser: Browser, tmp_path: Path) -> None:
    well = screenshot(
        browser, page_of(FLEETS["one-host"]), tmp_path / "well.png", 1280, 1400, "--blink-settings=preferredColorScheme=1"
    )
    ill = screenshot(
        browser, page_of(FLEETS["two-hundred"]), tmp_path / "ill.png", 1280, 1400, "--blink-settings=preferredColorScheme=1"
    )
    assert well.size == ill.size == (1280, 1400)
    assert brightness(well) > 220 and brightness(ill) > 220
    assert len(well.getcolors(1 << 24) or []) > 100
    assert reddish(ill) > 3 * reddish(well)


@pytest.mark.everything
def test_where_the_system_is_dark_the_page_is_dark(browser: Browser, tmp_path: Path) -> None:
    image = screenshot(
        browser, page_of(FLEETS["two-hundred"]), tmp_path / "dark.png", 1280, 1400, "--blink-settings=preferredColorScheme=0"
    )
    assert brightness(image) < 70
    assert len(image.getcolors(1 << 24) or []) > 100
    assert reddish(image) > 500


@pytest.mark.everything
@pytest.mark.parametrize("name", FLEETS)
def test_nothing_sticks_out_of_a_phone_or_a_desktop(name: str, browser: Browser) -> None:
    for width in (PHONE, 1280):
        wide = measure(
            browser,
            page_of(FLEETS[name]),
            width,
            """page.documentElement.scrollWidth, page.documentElement.clientWidth,
               [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll > *, svg, .hidden, .violations thead")
                    && e.getBoundingClientRect().right > page.documentElement.clientWidth + 1).map(e => e.tagName)""",
        )
        assert wide == [str(width), str(width)] or wide == [str(width), str(width), ""]


@pytest.mark.everything
def test_on_a_phone_text_stays_readable_and_links_are_large_enough_to_hit(browser: Browser) -> None:
    sizes = measure(
        browser,
        page_of(FLEETS["two-hundred"]),
        PHONE,
        """Math.min(...[...page.querySelectorAll("p, td, th, small, text, code, a")]
               .map(e => parseFloat(getComputedStyle(e).fontSize))),
           Math.min(...[...page.querySelectorAll(".matrix td.bad > a")].map(e => e.getBoundingClientRect().height)),
           Math.min(...[...page.querySelectorAll(".matrix td.bad > a")].map(e => e.getBoundingClientRect().width))""",
    )
    smallest, height, width = map(float, sizes)
    assert smallest >= 11
    assert height >= 24 and width >= 24


@pytest.mark.everything
def test_the_phones_screenshot_shows_the_page(browser: Browser, tmp_path: Path) -> None:
    page = framed(page_of(FLEETS["two-hundred"]), PHONE, 1500)
    image = screenshot(browser, page, tmp_path / "phone.png", 500, 1500).crop((0, 0, PHONE, 1500))
    assert len(image.getcolors(1 << 24) or []) > 100
    assert reddish(image) > 500


@pytest.mark.everything
@pytest.mark.parametrize("scheme", ["1", "0"], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str, browser: Browser) -> None:
    """WCAG 2.1 AA: 4.5 to 1, measured on every element that has text of its own; a ground is the nearest that is painted."""
    script = """(() => {
        const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const rgb = text => text.match(/[\\d.]+/g).map(Number);
        const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
        return [...page.querySelectorAll("body *")].filter(e => !e.closest("svg")
            && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())).map(e => {
                const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
                return [(a + .05) / (b + .05), e.tagName + "." + e.className]; }).filter(([ratio]) => ratio < 4.5).map(String);
    })()"""
    script = script.replace("getComputedStyle(", "page.defaultView.getComputedStyle(")
    page = page_of(fleets.fleet(*fleets.two_hundred().hosts[50:120]))
    dom = framed(
        page,
        1280,
        4000,
        f'onload = () => {{ const page = document.querySelector("iframe").contentDocument; '
        f'document.getElementById("measured").textContent = {script}.join("|") || "none"; }}',
    )
    got = browser(dom, "--dump-dom", f"--blink-settings=preferredColorScheme={scheme}").decode()
    match = re.search(r'<p id="measured">(.*?)</p>', got, re.DOTALL)
    assert match is not None and match[1] == "none"


@pytest.mark.everything
def test_printed_it_is_a_light_document_with_the_folded_hosts_unfolded(browser: Browser, tmp_path: Path) -> None:
    pages = {}
    for name in ("one-host", "two-hundred"):
        file = tmp_path / f"{name}.pdf"
        browser(
            page_of(FLEETS[name]), "--no-pdf-header-footer", f"--print-to-pdf={file}", "--blink-settings=preferredColorScheme=0"
        )
        content = file.read_bytes()
        assert content.startswith(b"%PDF-")
        pages[name] = len(re.findall(rb"/Type\s*/Page\b", content))
    assert 1 <= pages["one-host"] <= 3
    assert pages["two-hundred"] >= 8, "the 197 folded hosts take some pages of their own"
