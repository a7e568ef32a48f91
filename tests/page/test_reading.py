"""Reading an example board: on a phone, in the dark, with the keyboard, without JavaScript."""

from pathlib import Path

import pytest

from tests.page.example import SAYS, Example

# Luminance from 0 to 1 of a colour that the browser has computed.
LIGHT = """([node, what]) => {
  const parts = getComputedStyle(document.querySelector(node))[what].match(/[\\d.]+/g).map(Number);
  const [red, green, blue] = parts.map(part => (part / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}"""
SURFACES = ["html", "body", "h1", "table", "#work li", "code"]
FOCUSED = """() => {
  const here = document.activeElement, style = getComputedStyle(here);
  const outlined = here.matches(":focus-visible") && style.outlineStyle !== "none";
  return here.matches("a") && {
    href: here.href, text: here.textContent, width: outlined ? parseFloat(style.outlineWidth) : 0,
  };
}"""


@pytest.fixture(autouse=True)
def example(served):
    """A rich board, with one service that is not up."""
    served.watch(Example(airflow_triggerer="down"))


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_example_is_well_made_and_its_picture_is_kept(served, visit, request, size, theme):
    served.watch(Example())
    served.every(10)
    seen = visit(size=size, theme=theme)
    if folder := request.config.getoption("--keep"):
        kept = Path(folder, f"status-{size}-{theme}.png")
        seen.page.screenshot(path=kept, full_page=True)
    assert seen.violations() == []
    assert seen.overflow() <= 0


@pytest.mark.parametrize("width", [320, 390, 700, 710, 1024])
def test_nothing_sticks_out_at_any_width(visit, width):
    seen = visit()
    seen.page.set_viewport_size({"width": width, "height": 844})
    assert seen.overflow() <= 0
    assert seen.page.evaluate(STICKING_OUT) == []


# Whatever reaches over the edge of its card, of its cell or of the window.
STICKING_OUT = """() => [...document.querySelectorAll("main *")].filter(one => {
  const box = one.getBoundingClientRect(), around = one.parentElement.getBoundingClientRect();
  const seen = box.width > 1 && getComputedStyle(one).clipPath === "none";
  return seen && !one.closest("svg, thead") && (box.right > around.right + 1 || box.left < -1);
}).map(one => one.outerHTML.slice(0, 100))"""


def test_dark_is_dark_everywhere(visit):
    seen = visit(theme="dark")
    assert max(seen.page.evaluate(LIGHT, [node, "backgroundColor"]) for node in SURFACES) < 0.05
    assert min(seen.page.evaluate(LIGHT, [node, "color"]) for node in ("body", "a", "th")) > 0.3


def test_light_is_light_and_follows_the_reader_without_reload(visit):
    seen = visit(theme="light")
    assert seen.page.evaluate(LIGHT, ["body", "backgroundColor"]) > 0.8
    seen.theme("dark")
    assert seen.page.evaluate(LIGHT, ["body", "backgroundColor"]) < 0.05


def test_each_link_is_reached_by_tab_with_a_visible_focus(visit):
    seen = visit()
    links = seen.page.locator("a")
    expected = links.evaluate_all("them => them.map(link => link.href)")
    assert len(expected) >= 10
    reached = []
    for _ in expected:
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate(FOCUSED))
    assert [one["href"] for one in reached] == expected
    assert min(one["width"] for one in reached) >= 2
    assert all(one["text"].strip() for one in reached)
    seen.page.keyboard.press("Tab")
    assert not seen.page.evaluate(FOCUSED)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_it_is_a_table_for_who_cannot_see_it(visit, size):
    seen = visit(size=size)
    table = seen.page.get_by_role("table", name="Services")
    assert table.get_by_role("row").count() == 1 + len(SAYS)
    assert table.get_by_role("rowheader").count() == len(SAYS)
    row = table.get_by_role("row").filter(has_text="triggerer").aria_snapshot()
    assert 'rowheader "airflow-triggerer waits for deferred tasks"' in row
    assert 'cell "down"' in row
    assert 'img "last hour: up 60 min"' in row


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_without_javascript_all_is_said(visit, served, size):
    served.every(60)
    seen = visit(size=size, scripts=False)
    assert seen.verdicts() == dict.fromkeys(SAYS, "up") | {"airflow-triggerer": "down"}
    assert seen.headline() == "airflow-triggerer is down"
    for detail, _ in SAYS.values():
        assert seen.page.get_by_text(detail).is_visible()
    assert "version 12" in seen.card("Champion").inner_text()
    assert "2013-11: 21%" in seen.card("Drift").inner_text()
    assert seen.page.locator("#lost").is_hidden()


def test_without_javascript_it_is_loaded_anew(visit, served):
    seen = visit(scripts=False)
    served.watch(Example(redis="down"))
    seen.page.get_by_text("redis is down").wait_for()
