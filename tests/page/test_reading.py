"""Layout and accessibility: phone, dark theme, keyboard, screen reader, no JavaScript."""

from pathlib import Path

import pytest

from tests.page.example import DETAILS, Example

# Luminance from 0 to 1 of a computed color.
LUMINANCE = """([node, property]) => {
  const color = getComputedStyle(document.querySelector(node))[property];
  const parts = color.match(/[\\d.]+/g).map(Number);
  const [red, green, blue] = parts.map(part => (part / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}"""
SURFACES = ["html", "body", "h1", "table", "#work li", "code"]
FOCUSED_LINK = """() => {
  const node = document.activeElement, style = getComputedStyle(node);
  const outlined = node.matches(":focus-visible") && style.outlineStyle !== "none";
  return node.matches("a") && {
    href: node.href, text: node.textContent, width: outlined ? parseFloat(style.outlineWidth) : 0,
  };
}"""


@pytest.fixture(autouse=True)
def example(served):
    """An example board with one service that is not up."""
    served.use(Example(airflow_triggerer="down"))


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_example_has_no_violations_and_is_saved_as_picture(served, visit, request, size, theme):
    served.use(Example())
    served.set_interval(10)
    seen = visit(size=size, theme=theme)
    if folder := request.config.getoption("--keep"):
        picture = Path(folder, f"status-{size}-{theme}.png")
        seen.page.screenshot(path=picture, full_page=True)
    assert seen.violations() == []
    assert seen.overflow() <= 0


@pytest.mark.parametrize("width", [320, 390, 700, 710, 1024])
def test_page_has_no_overflow_at_any_width(visit, width):
    seen = visit()
    seen.page.set_viewport_size({"width": width, "height": 844})
    assert seen.overflow() <= 0
    assert seen.page.evaluate(OVERFLOWING) == []


# Elements that extend beyond their card, their cell or the window.
OVERFLOWING = """() => [...document.querySelectorAll("main *")].filter(node => {
  const box = node.getBoundingClientRect(), parent = node.parentElement.getBoundingClientRect();
  const visible = box.width > 1 && getComputedStyle(node).clipPath === "none";
  const outside = box.right > parent.right + 1 || box.left < -1;
  return visible && !node.closest("svg, thead") && outside;
}).map(node => node.outerHTML.slice(0, 100))"""


def test_dark_theme_is_dark_everywhere(visit):
    seen = visit(theme="dark")
    assert max(seen.page.evaluate(LUMINANCE, [node, "backgroundColor"]) for node in SURFACES) < 0.05
    assert min(seen.page.evaluate(LUMINANCE, [node, "color"]) for node in ("body", "a", "th")) > 0.3


def test_theme_follows_the_preference_without_reload(visit):
    seen = visit(theme="light")
    assert seen.page.evaluate(LUMINANCE, ["body", "backgroundColor"]) > 0.8
    seen.theme("dark")
    assert seen.page.evaluate(LUMINANCE, ["body", "backgroundColor"]) < 0.05


def test_links_are_reached_by_tab_with_visible_focus(visit):
    seen = visit()
    links = seen.page.locator("a")
    expected = links.evaluate_all("links => links.map(link => link.href)")
    assert len(expected) >= 10
    reached = []
    for _ in expected:
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate(FOCUSED_LINK))
    assert [one["href"] for one in reached] == expected
    assert min(one["width"] for one in reached) >= 2
    assert all(one["text"].strip() for one in reached)
    seen.page.keyboard.press("Tab")
    assert not seen.page.evaluate(FOCUSED_LINK)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_services_are_a_table_for_screen_readers(visit, size):
    seen = visit(size=size)
    table = seen.page.get_by_role("table", name="Services")
    assert table.get_by_role("row").count() == 1 + len(DETAILS)
    assert table.get_by_role("rowheader").count() == len(DETAILS)
    row = table.get_by_role("row").filter(has_text="triggerer").aria_snapshot()
    assert 'rowheader "airflow-triggerer waits for deferred tasks"' in row
    assert 'cell "down"' in row
    assert 'img "last hour: up 60 min"' in row


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_page_without_javascript_is_complete(visit, served, size):
    served.set_interval(60)
    seen = visit(size=size, scripts=False)
    assert seen.verdicts() == dict.fromkeys(DETAILS, "up") | {"airflow-triggerer": "down"}
    assert seen.headline() == "airflow-triggerer is down"
    for detail, _ in DETAILS.values():
        assert seen.page.get_by_text(detail).is_visible()
    assert "version 12" in seen.card("Champion flight-delay").inner_text()
    assert "2013-11: 21%" in seen.card("Drift flight-delay").inner_text()
    assert seen.page.locator("#lost").is_hidden()


def test_page_without_javascript_reloads(visit, served):
    seen = visit(scripts=False)
    served.use(Example(redis="down"))
    seen.page.get_by_text("redis is down").wait_for()
