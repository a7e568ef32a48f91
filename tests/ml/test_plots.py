"""Test that plots can be drawn and show their data."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from ml import plots
from ml.scores import Predictions

from tests.ml.conftest import CHURN


def as_png(figure):
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


PLOTS = {
    "churn": ["roc.png", "calibration.png", "importance.png"],
    "demand": ["predictions.png", "residuals.png", "importance.png"],
    "plants": ["confusion.png", "importance.png"],
}


def test_of_training_draws_plots_of_problem_kind(name, problem):
    rows = problem.function("sample")().tail(200)
    target, random = rows[problem.target], np.random.default_rng(1)
    classes = tuple(sorted(set(target))) if problem.kind != "regression" else ()
    values = random.dirichlet(np.ones(len(classes)), 200) if classes else target.to_numpy()[:, None]
    importance = pd.Series({"calls": 0.1, "plan": 0.02, "usage": -0.001})
    figures = plots.of_training(problem, "linear", target, Predictions(values, classes), importance)
    assert list(figures) == PLOTS[name]
    for figure in figures.values():
        assert as_png(figure).startswith(b"\x89PNG")
    labels = [text.get_text() for text in figures["importance.png"].axes[0].get_yticklabels()]
    assert labels == ["usage", "plan", "calls"]
    assert "linear" in figures["importance.png"].axes[0].get_title()


MONITORED_PERIODS = pd.DataFrame(
    {
        "period": ["2013-02", "2013-03", "2013-03", "2013-04"],
        "auc": [0.70, 0.60, 0.72, 0.69],
        "drifted_share": [0.1, 0.5, 0.0, 0.2],
        "drifted": ["False", "True", "False", "False"],
        "champion": ["1", "1", "2", "2"],
    }
)


TRAININGS = pd.DataFrame(
    {
        "period": ["2012-12", "2013-03", "2013-04"],
        "auc": [0.65, 0.72, 0.68],
        "verdict": ["champion", "champion", "challenger"],
    }
)


def test_of_periods_shows_champions_and_trainings():
    figure = plots.of_periods(CHURN, MONITORED_PERIODS, TRAININGS)
    above, below = figure.axes
    points = [list(zip(*line.get_data(), strict=True)) for line in above.lines]
    assert points == [[(0, 0.70), (1, 0.60), (2, 0.69)], [(1, 0.72)], [(2, 0.68)]]
    assert [bar.get_height() for bar in below.patches] == [0.1, 0.5, 0.2]
    reds = [bar.get_facecolor()[0] > bar.get_facecolor()[1] for bar in below.patches]
    assert reds == [False, True, False]
    assert as_png(figure).startswith(b"\x89PNG")
    labels = [text.get_text() for text in below.get_xticklabels()]
    assert labels == ["2013-02", "2013-03", "2013-04"]


@pytest.mark.parametrize("rows", [1, 2])
def test_of_periods_few_months_are_drawn(rows):
    figure = plots.of_periods(CHURN, MONITORED_PERIODS.head(rows), TRAININGS.head(0))
    assert as_png(figure).startswith(b"\x89PNG")
    assert not [line for line in figure.axes[0].lines[1:] if len(line.get_ydata())]
