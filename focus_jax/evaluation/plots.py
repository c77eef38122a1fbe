"""Plots of results, as PNG and SVG. Needs matplotlib: `pip install focus_jax[plots]`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

try:
    from matplotlib.figure import Figure
except ImportError as missing:
    raise ImportError("plots need matplotlib: pip install 'focus_jax[plots]'") from missing

Curve = tuple[np.ndarray, np.ndarray]


def save(figure: Figure, path: Path) -> None:
    """Write `path.png` and `path.svg`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_name(path.name + suffix), dpi=120)


def _axes(width: float = 6, height: float = 4):
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def cumulative_curves(curves: Mapping[str, Curve]) -> Figure:
    """Percentage of scan vertices below each error (mm), a curve for each method."""
    figure, axes = _axes()
    for label, (levels, percent) in curves.items():
        step = max(1, len(levels) // 2000)  # finer than a pixel
        x = np.concatenate([[0.0], levels[::step], levels[-1:]])
        axes.plot(x, np.concatenate([[0.0], percent[::step], percent[-1:]]), label=label)
    axes.set(xlim=(0, 8), ylim=(0, 100), xlabel="error [mm]", ylabel="vertices [%]")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def pose_bars(
    errors: Mapping[str, np.ndarray], yaws: Mapping[str, float], kinds: Mapping[str, str]
) -> Figure:
    """Mean and deviation of each kind's errors (mm), by yaw to the nearest 10 degrees.

    The supplement's Fig. 3. `errors`, `yaws` (degrees) and `kinds` are by photo.
    """
    figure, axes = _axes()
    names = sorted(set(kinds.values()))
    for number, kind in enumerate(names):
        mine = [n for n in errors if kinds[n] == kind]
        bins = {n: 10 * round(yaws[n] / 10) for n in mine}
        levels = sorted(set(bins.values()))
        pooled = [np.concatenate([errors[n] for n in mine if bins[n] == b]) for b in levels]
        shift = 1.5 * (number - (len(names) - 1) / 2)  # side by side, not over each other
        axes.errorbar(
            [b + shift for b in levels],
            [p.mean() for p in pooled],
            yerr=[p.std() for p in pooled],
            fmt="o",
            capsize=3,
            label=kind,
        )
    axes.set(xlabel="yaw [degrees]", ylabel="error [mm]", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def sweep(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]],
) -> Figure:
    """A panel for each parameter: its values against mean and deviation of each score."""
    figure = Figure(figsize=(3 * max(len(panels), 1), 3), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (parameter, lines) in zip(grid[0], panels.items(), strict=True):
        for label, (x, mean, deviation) in lines.items():
            axes.errorbar(x, mean, yerr=deviation, marker="o", capsize=2, label=label)
        axes.set(xlabel=parameter)
        axes.grid(alpha=0.3)
    grid[0][-1].legend(fontsize="small")
    return figure


def bars(groups: Mapping[str, tuple[float, float]], label: str) -> Figure:
    """A horizontal bar with its deviation for each row of a table."""
    figure, axes = _axes(6, 0.4 * len(groups) + 1)
    names = list(groups)[::-1]
    axes.barh(names, [groups[n][0] for n in names], xerr=[groups[n][1] for n in names], capsize=3)
    axes.set(xlabel=label)
    axes.grid(alpha=0.3, axis="x")
    return figure


def lines(curves: Mapping[str, Curve], *, title: str) -> Figure:
    """Curves over the steps of a run."""
    figure, axes = _axes(4, 2.6)
    for label, (x, y) in curves.items():
        axes.plot(x, y, label=label, linewidth=1)
    axes.set(title=title, xlabel="step")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize="small")
    return figure
