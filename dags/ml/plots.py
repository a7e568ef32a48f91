"""The pictures of a training run: ROC, calibration, importance."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import RocCurveDisplay

from ml.drift import SHARE_THRESHOLD
from ml.model import CALIBRATION_BINS


def of_training(
    name: str, late: pd.Series, chance: np.ndarray, importance: pd.Series
) -> Mapping[str, Figure]:
    """Return figures by file name; `late` and `chance` are of the hold-out."""
    titles = ("ROC on the hold-out", "Calibration on the hold-out", f"What {name} goes by")
    # Not through pyplot: it keeps every figure, and has no screen to show them on.
    figures = [Figure(figsize=(6, 5), layout="constrained") for _ in titles]
    roc, calibration, worth = (figure.subplots() for figure in figures)
    RocCurveDisplay.from_predictions(late, chance, name=name, plot_chance_level=True, ax=roc)
    CalibrationDisplay.from_predictions(
        late, chance, n_bins=CALIBRATION_BINS, strategy="quantile", name=name, ax=calibration
    )
    worth.barh(importance.index[::-1], importance.to_numpy()[::-1])
    worth.set_xlabel("AUC lost when shuffled")
    for title, axes in zip(titles, (roc, calibration, worth), strict=True):
        axes.set_title(title)
        axes.grid(alpha=0.3)
    return dict(zip(("roc.png", "calibration.png", "importance.png"), figures, strict=True))


def of_months(looks: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Every month that was looked at: the champion's AUC then, what was trained, and the drift.

    `looks` has month, auc, drifted_share and drifted, of a month the first look first; `trained`
    has month, auc on the flights held out, and verdict. `looks` is sorted by month.
    """
    first = looks.drop_duplicates("month", keep="first").reset_index(drop=True)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    above.plot(first.index, first["auc"], "o-", label="champion when the month came")
    place = dict(zip(first["month"], first.index, strict=True))
    for verdict, mark in (("champion", "^"), ("challenger", "x")):
        made = trained[(trained["verdict"] == verdict) & trained["month"].isin(place)]
        label = f"trained with the data to it: {verdict}"
        above.plot(made["month"].map(place), made["auc"], mark, markersize=9, label=label)
    above.set_ylabel("AUC")
    colours = np.where(first["drifted"] == "True", "tab:red", "tab:gray")
    below.bar(first.index, first["drifted_share"], color=colours)
    below.axhline(SHARE_THRESHOLD, color="black", linestyle=":", label="threshold")
    below.set_ylabel("drifted columns (share)")
    below.set_xticks(first.index, first["month"], rotation=45)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    return figure
