"""The small pictures: well-formed, to scale, told in words, deaf to hostile strings."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from status import pictures


def drawn(svg):
    """The picture's root, and its children as (class, attributes)."""
    root = ElementTree.fromstring(svg)
    return root, [(each.get("class"), each.attrib) for each in root]


def test_equal_minutes_are_one_piece_and_what_was_not_watched_is_blank():
    root, pieces = drawn(pictures.strip(["", "", "up", "up", "up", "down", "", "up"]))
    places = [(kind, int(each["x"]), int(each["width"])) for kind, each in pieces]
    assert places == [("up", 2, 3), ("down", 5, 1), ("up", 7, 1)]
    assert root.get("viewBox") == "0 0 8 10"
    assert root.get("aria-label") == "last hour: up 4 min, down 1 min"


def test_an_hour_that_nobody_watched_is_told_so():
    root, pieces = drawn(pictures.strip([""] * 60))
    assert (pieces, root.get("aria-label")) == ([], "last hour: not watched yet")


def bottom(each):
    return float(each["y"]) + float(each["height"])


def test_months_are_bars_to_one_scale_with_the_limit_as_a_line():
    root, drawing = drawn(pictures.drift({"2013-01": 0.0, "2013-02": 0.125, "2013-03": 0.25}, 0.25))
    *bars, (_, line) = drawing
    assert [kind for kind, _ in bars] == ["up", "up", "degraded"]
    # Twice the limit is the full height; a month without drift still shows.
    assert [float(each["height"]) for _, each in bars] == [1, 15, 30]
    assert [bottom(each) for _, each in bars[1:]] == [60, 60]
    assert line["y1"] == line["y2"] == bars[2][1]["y"] == "30.0"
    places = [(int(each["x"]), int(each["width"])) for _, each in bars]
    assert all(here + wide < there for (here, wide), (there, _) in pairwise(places))
    assert sum(places[-1]) <= int(root.get("width"))
    label = "drifted columns: 2013-01 0%, 2013-02 12%, 2013-03 25%; limit 25%"
    assert root.get("aria-label") == label


def test_drift_far_past_the_limit_stays_in_the_picture():
    _, [(kind, bar), (_, line)] = drawn(pictures.drift({"2013-01": 1.0}, 0.25))
    assert (kind, float(bar["y"]), bottom(bar)) == ("degraded", 0, 60)
    assert line["y1"] == "45.0"


@pytest.mark.parametrize("name", ['"><script>alert(1)</script>', "]]>", "&amp;'"])
def test_a_hostile_month_stays_text(name):
    root, _ = drawn(pictures.drift({name: 0.5}, 0.25))
    assert root.find("rect/title").text == f"{name}: 50%"
    assert f"{name} 50%" in root.get("aria-label")
    assert {each.tag for each in root.iter()} == {"svg", "rect", "title", "line"}
