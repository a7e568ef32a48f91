"""The SVG pictures: well-formed, to scale, with text alternatives, safe with hostile strings."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from status import pictures


def parse(svg):
    """Return the picture's root, and its children as (class, attributes)."""
    root = ElementTree.fromstring(svg)
    return root, [(each.get("class"), each.attrib) for each in root]


def test_strip_joins_equal_minutes_and_leaves_blanks():
    root, pieces = parse(pictures.strip(["", "", "up", "up", "up", "down", "", "up"]))
    places = [(kind, int(each["x"]), int(each["width"])) for kind, each in pieces]
    assert places == [("up", 2, 3), ("down", 5, 1), ("up", 7, 1)]
    assert root.get("viewBox") == "0 0 8 10"
    assert root.get("aria-label") == "last hour: up 4 min, down 1 min"


def test_strip_without_history_is_empty():
    root, pieces = parse(pictures.strip([""] * 60))
    assert (pieces, root.get("aria-label")) == ([], "last hour: no data")


def bottom(each):
    return float(each["y"]) + float(each["height"])


def test_drift_draws_months_to_scale_with_the_limit_as_a_line():
    root, drawing = parse(pictures.drift({"2013-01": 0.0, "2013-02": 0.125, "2013-03": 0.25}, 0.25))
    *bars, (_, line) = drawing
    assert [kind for kind, _ in bars] == ["up", "up", "degraded"]
    # The full height is twice the limit. A month without drift is still visible.
    assert [float(each["height"]) for _, each in bars] == [1, 15, 30]
    assert [bottom(each) for _, each in bars[1:]] == [60, 60]
    assert line["y1"] == line["y2"] == bars[2][1]["y"] == "30.0"
    places = [(int(each["x"]), int(each["width"])) for _, each in bars]
    assert all(x + width < next_x for (x, width), (next_x, _) in pairwise(places))
    assert sum(places[-1]) <= int(root.get("width"))
    label = "drifted columns: 2013-01 0%, 2013-02 12%, 2013-03 25%; limit 25%"
    assert root.get("aria-label") == label


def test_drift_far_past_the_limit_fits_the_picture():
    _, [(kind, bar), (_, line)] = parse(pictures.drift({"2013-01": 1.0}, 0.25))
    assert (kind, float(bar["y"]), bottom(bar)) == ("degraded", 0, 60)
    assert line["y1"] == "45.0"


@pytest.mark.parametrize("name", ['"><script>alert(1)</script>', "]]>", "&amp;'"])
def test_drift_escapes_hostile_months(name):
    root, _ = parse(pictures.drift({name: 0.5}, 0.25))
    assert root.find("rect/title").text == f"{name}: 50%"
    assert f"{name} 50%" in root.get("aria-label")
    assert {each.tag for each in root.iter()} == {"svg", "rect", "title", "line"}
