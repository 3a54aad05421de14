"""The report page on phones, in the dark, by keyboard, on paper: readable for everybody."""

import pytest

OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
# Each text on the page with its colour, what it stands on, and whether it is large (WCAG 2.2).
TEXTS = """
const channels = (text) => (text.match(/[\\d.e-]+/g) || []).map(Number);
function parsed(text) {
  const [r, g, b, a = 1] = channels(text);
  return text.startsWith("color(srgb") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
}
function ground(element) {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    const layer = parsed(getComputedStyle(each).backgroundColor);
    layers.push(layer);
    if (layer[3] === 1) break;
  }
  return layers.reverse().reduce((under, over) =>
    [0, 1, 2].map((i) => over[i] * over[3] + under[i] * (1 - over[3])), [255, 255, 255]);
}
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || !element.checkVisibility() || element.closest("script, noscript, .unseen")) continue;
  const style = getComputedStyle(element);
  const points = parseFloat(style.fontSize) * 0.75;
  found.push({
    text, large: points >= 18 || (points >= 14 && style.fontWeight >= 700),
    ink: parsed(element.closest("svg") ? style.fill : style.color), ground: ground(element),
  });
}
return found;
"""


def contrast(one: list[float], other: list[float]) -> float:
    def luminance(colour: list[float]) -> float:
        parts = [c / 255 for c in colour[:3]]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [360, 768])
def test_small_screen_never_scrolls_horizontally(page, width: int):
    page.open(width=width)
    page.run(OPEN_ALL)
    wide, inside = page.run(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide == inside <= width
    box = page.run(
        "const box = document.querySelector('#g1 .wide');"
        "return [box.scrollWidth > box.clientWidth, box.tabIndex]"
    )
    # Below 640 pixels each row is a card; else the table scrolls in its own box, by keyboard too.
    assert box == [width > 640, 0]


def test_dark_mode_follows_the_system_and_the_button(page):
    page.open(theme="dark")
    paper = "return getComputedStyle(document.body).backgroundColor"
    line = "return document.getElementById('g1-chart').data[1].line.color"
    dark = page.run(paper), page.run(line)
    page.run("document.getElementById('theme').click()")
    light = page.run(paper), page.run(line)
    assert dark == ("rgb(23, 23, 21)", "#4a7fe0") and light == ("rgb(251, 250, 247)", "#123c74")
    page.browser.refresh()
    assert page.run(paper) == light[0]  # the choice is remembered


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_has_sufficient_contrast(page, theme: str):
    page.open(theme=theme)
    page.run(OPEN_ALL)
    texts = page.run(TEXTS)
    assert len(texts) > 300
    poor = {
        (each["text"][:40], round(ratio, 2))
        for each in texts
        if (ratio := contrast(each["ink"], each["ground"])) < (3 if each["large"] else 4.5)
    }
    assert not poor


def test_tab_key_reaches_every_control_in_order_and_leaves_the_page(page):
    page.open()
    usable = page.run(
        "return [...document.querySelectorAll("
        "'a[href], button, input, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility() && (e.type !== 'radio' || e.checked))"
        ".map((e, i) => { e.dataset.place = i; return i; })"
    )
    reached = []
    for _ in usable:
        page.press("\ue004")
        reached.append(
            page.run(
                "const e = document.activeElement;"
                "const style = getComputedStyle(e.matches('.choice input') ? "
                "e.nextElementSibling : e);"
                "return [e.dataset.place, style.outlineStyle !== 'none']"
            )
        )
    assert [int(place) for place, _ in reached] == usable
    assert all(visible for _, visible in reached)
    page.press("\ue004")
    assert page.run("return document.activeElement.dataset.place") in (None, "0")


def test_skip_link_skips_the_header(page):
    page.open()
    page.press("\ue004")
    assert page.run("return document.activeElement.className") == "skip"
    page.press("\ue007")
    assert page.run("return document.activeElement.id") == "main"


def test_page_prints_in_light_colors_in_either_mode(page):
    page.open(theme="dark")
    page.run(
        "addEventListener('beforeprint', () => { window.printed = "
        "getComputedStyle(document.body).backgroundColor; });"
    )
    page.browser.execute_cdp_cmd("Page.printToPDF", {})
    assert page.run("return window.printed") == "rgb(251, 250, 247)"
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(23, 23, 21)"


def test_every_control_has_an_accessible_name(page):
    page.open()
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named: dict[str, list[str]] = {}
    for node in [each for each in nodes if not each["ignored"]]:
        name = node.get("name", {}).get("value", "")
        named.setdefault(node.get("role", {}).get("value", ""), []).append(name)
    for role in ("button", "checkbox", "radio", "link", "table", "region", "image", "heading"):
        assert named[role] and all(named[role]), (role, named[role])
    assert "Copy the command: Predict with the recommended run" in named["button"]


def test_controls_are_large_enough_to_tap(page):
    page.open(width=360)
    small = page.run(
        "return [...document.querySelectorAll('button, summary, .runs label, .choice label')]"
        ".filter((each) => each.checkVisibility())"
        ".map((each) => [each.textContent.trim(), each.getBoundingClientRect()])"
        ".filter(([, box]) => box.width < 24 || box.height < 24).map(([text]) => text)"
    )  # 24 pixels: WCAG 2.2, target size
    assert small == []
