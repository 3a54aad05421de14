"""The report page in a real browser: drawn without a request, and every control works."""

import json
import re
import time

import pytest


def shown_runs(page) -> list[bool]:
    """Whether the line of each run of the first chart is drawn, as Plotly has it."""
    return page.run(
        "return document.getElementById('g1-chart').data.filter((_, i) => i % 3 === 1)"
        ".map((trace) => trace.visible !== false)"
    )


def test_page_is_drawn_without_errors_or_requests(page):
    page.open()
    time.sleep(0.5)  # for what a timer may start
    assert page.browser.get_log("browser") == []
    events = [
        json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")
    ]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    own = [url for url in asked if not url.startswith(("data:", "chrome:"))]  # chrome: its own tab
    assert own == [page.file.as_uri()]
    assert page.run("return document.querySelectorAll('.scatterlayer .trace').length")


def test_an_injected_script_is_refused(page):
    page.open()
    page.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.hit = 1';"
        "document.body.append(s);"
    )
    time.sleep(0.3)
    assert page.run("return window.hit === undefined")
    assert "Content Security Policy" in str(page.browser.get_log("browser"))


def test_the_legend_switches_runs_by_keyboard(page):
    page.open()
    assert shown_runs(page) == [True] * 8
    page.run("document.querySelectorAll('#g1 .runs input')[2].focus()")
    page.press(" ")
    assert shown_runs(page) == [True, True, False, True, True, True, True, True]
    for name, expected in (("none", [False] * 8), ("marked", [True] * 3 + [False] * 5)):
        page.run(f"document.querySelector('#g1 [data-show={name}]').focus()")
        page.press("\ue007")
        assert shown_runs(page) == expected
    boxes = "return [...document.querySelectorAll('#g1 .runs input')].map((box) => box.checked)"
    assert page.run(boxes) == shown_runs(page)


def test_split_and_score_are_chosen_by_keyboard_and_keep_the_switches(page):
    page.open()
    title = "return document.getElementById('g1-chart').layout.yaxis.title.text"
    assert page.run(title) == "validation loss"
    page.run("document.querySelectorAll('#g1 .runs input')[0].click()")
    page.run("document.querySelector('[name=g1-score]:checked').focus()")
    page.press("\ue014")  # arrow right
    page.run("document.querySelector('[name=g1-split]:checked').focus()")
    page.press("\ue014")
    assert page.run(title) == "training accuracy"
    assert shown_runs(page) == [False] + [True] * 7


def test_numbers_of_the_curves_are_available_as_a_table(page):
    page.open()
    page.run("document.querySelector('#g1 .behind-chart summary').focus()")
    page.press("\ue007")
    page.wait("return document.querySelector('#g1 .behind-chart table') !== null")
    table = page.run(
        "return [...document.querySelector('#g1 .behind-chart table').rows].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent))"
    )
    assert table[0] == ["run", *(f"epoch {n}" for n in range(1, 11))]
    assert len(table) == 9 and table[1][0] == "effnetb2, 20pct, 10 epochs"


def test_columns_sort_by_keyboard(page):
    page.open()
    names = (
        "return [...document.querySelectorAll('#g1 .leaderboard tbody tr')]"
        ".map((row) => row.cells[row.cells.length - 1].textContent.trim())"
    )
    first = page.run(names)

    def sort(title: str) -> str | None:
        page.run(
            "[...document.querySelectorAll('#g1 .leaderboard thead button')]"
            ".find((button) => button.textContent === arguments[0]).focus()",
            title,
        )
        page.press("\ue007")
        return page.run("return document.activeElement.closest('th').getAttribute('aria-sort')")

    natural = sorted(first, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    assert sort("run") == "ascending"
    assert page.run(names) == natural != first
    assert sort("run") == "descending"
    assert page.run(names) == natural[::-1]
    assert sort("test accuracy") == "descending"  # the best first
    spoken = page.run("return document.getElementById('said').textContent")
    assert spoken == "Sorted by test accuracy, descending"
    assert sort("standing") == "ascending"
    assert page.run(names) == first
    sorted_heads = "return document.querySelectorAll('#g1 [aria-sort]').length"
    assert page.run(sorted_heads) == 1


def test_copy_button_copies_the_command(page):
    page.open()
    page.run(
        "window.copied = null;"
        "Object.defineProperty(navigator, 'clipboard', { configurable: true, value: "
        "{ writeText: async (text) => { window.copied = text; } } });"
        "document.querySelector('#g1 button.copy').focus()"
    )
    page.press("\ue007")
    page.wait("return document.querySelector('#g1 button.copy').textContent === 'Copied'")
    copied = page.run("return window.copied")
    assert copied.startswith("python src/predict.py PHOTO.jpg --run /")


def test_where_the_clipboard_is_forbidden_the_command_is_selected(page):
    page.open()
    page.run(
        "Object.defineProperty(navigator, 'clipboard', { configurable: true, value: undefined });"
        "document.execCommand = () => false;"
        "document.querySelector('#g1 button.copy').click()"
    )
    page.wait("return document.querySelector('#g1 button.copy').textContent === 'Selected'")
    selected = page.run("return getSelection().toString()")
    assert selected.startswith("python src/predict.py PHOTO.jpg --run /")


@pytest.mark.parametrize(
    ("width", "beside"), [(1400, True), (901, True), (899, False), (390, False)]
)
def test_figure_stands_beside_the_verdict_where_there_is_room(page, width, beside):
    page.open(width=width)
    lead_right, figure_left, lead_bottom, figure_top = page.run(
        "const box = (name) => document.querySelector(`#g1 .pair ${name}`).getBoundingClientRect();"
        "const [lead, figure] = [box('.lead'), box('.differences')];"
        "return [lead.right, figure.left, lead.bottom, figure.top];"
    )
    assert (lead_right <= figure_left and figure_top < lead_bottom) == beside
    assert (figure_top >= lead_bottom) == (not beside)
