"""The pictures: that they are drawn, and show what they are given."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from ml import plots


def drawn(figure):
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def test_a_training_has_three_pictures():
    late = pd.Series(np.arange(200) % 3 == 0)
    importance = pd.Series({"departure_minute": 0.1, "carrier": 0.02, "visib": -0.001})
    figures = plots.of_training("linear", late, np.linspace(0, 1, 200), importance)
    assert list(figures) == ["roc.png", "calibration.png", "importance.png"]
    for figure in figures.values():
        assert drawn(figure).startswith(b"\x89PNG")
    labels = [text.get_text() for text in figures["importance.png"].axes[0].get_yticklabels()]
    assert labels == ["visib", "carrier", "departure_minute"]
    assert "linear" in figures["importance.png"].axes[0].get_title()


LOOKS = pd.DataFrame(
    {
        "month": ["2013-02", "2013-03", "2013-03", "2013-04"],
        "auc": [0.70, 0.60, 0.72, 0.69],
        "drifted_share": [0.1, 0.5, 0.0, 0.2],
        "drifted": ["False", "True", "False", "False"],
        "champion": ["1", "1", "2", "2"],
    }
)


TRAINED = pd.DataFrame(
    {
        "month": ["2012-12", "2013-03", "2013-04"],
        "auc": [0.65, 0.72, 0.68],
        "verdict": ["champion", "champion", "challenger"],
    }
)


def test_months_show_the_champion_then_and_what_was_trained():
    figure = plots.of_months(LOOKS, TRAINED)
    above, below = figure.axes
    points = [list(zip(*line.get_data(), strict=True)) for line in above.lines]
    assert points == [[(0, 0.70), (1, 0.60), (2, 0.69)], [(1, 0.72)], [(2, 0.68)]]
    assert [bar.get_height() for bar in below.patches] == [0.1, 0.5, 0.2]
    reds = [bar.get_facecolor()[0] > bar.get_facecolor()[1] for bar in below.patches]
    assert reds == [False, True, False]
    assert drawn(figure).startswith(b"\x89PNG")
    named = [text.get_text() for text in below.get_xticklabels()]
    assert named == ["2013-02", "2013-03", "2013-04"]


@pytest.mark.parametrize("rows", [1, 2])
def test_few_months_are_drawn_too(rows):
    figure = plots.of_months(LOOKS.head(rows), TRAINED.head(0))
    assert drawn(figure).startswith(b"\x89PNG")
    assert not [line for line in figure.axes[0].lines[1:] if len(line.get_ydata())]
