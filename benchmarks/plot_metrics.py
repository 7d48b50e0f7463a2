#!/usr/bin/env python3
"""Draws curves of runs from their metrics.jsonl side by side: masked-LM loss and accuracy.

python benchmarks/plot_metrics.py short=a/metrics.jsonl long=b/metrics.jsonl --output=curves.svg

LABEL@TOKENS=FILE says how many tokens an update sees: curves over tokens instead of updates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from common import ROOT  # noqa: F401 - puts the checkout on the path

from bert_ko.training.metrics import read_metrics

_PANELS = (("masked_lm_loss", "masked-LM loss"), ("masked_lm_accuracy", "masked-LM accuracy"))


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Means over the last ``width`` values."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [
        (sums[i + 1] - sums[max(0, i + 1 - width)]) / min(i + 1, width) for i in range(len(values))
    ]


class Curve(NamedTuple):
    """A run, as the command line names it."""

    label: str
    tokens: float | None  # of an update
    path: Path

    @classmethod
    def parse(cls, text: str) -> Curve:
        """Reads LABEL@TOKENS=FILE, of which FILE alone must be given."""
        name, _, path = text.rpartition("=")
        label, _, tokens = name.partition("@")
        return cls(label or Path(path).parent.name, float(tokens) if tokens else None, Path(path))


def draw(curves: Sequence[Curve], width: int, end: float | None) -> Any:
    """A figure with a panel for each quantity and a line for each run.

    Args:
        curves: of one kind, with tokens or without.
        width: records that a mean is taken over.
        end: updates or million tokens that are shown; None for all.
    """
    figure, panels = plt.subplots(1, len(_PANELS), figsize=(10, 3.6), layout="constrained")
    by_tokens = curves[0].tokens is not None
    for curve in curves:
        if (curve.tokens is not None) != by_tokens:
            sys.exit(f"{curve.label}: give @TOKENS for all curves or for none.")
        records = read_metrics(str(curve.path))
        if not records:
            sys.exit(f"{curve.path}: no records of metrics.")
        scale = 1.0 if curve.tokens is None else curve.tokens / 1e6
        shown = [one for one in records if end is None or one["step"] * scale <= end]
        for panel, (name, _) in zip(panels, _PANELS, strict=True):
            x, values = _points(shown, name, scale)
            (line,) = panel.plot(x, smoothed(values, width), label=curve.label)
            panel.plot(x, values, color=line.get_color(), alpha=0.3, linewidth=0.6)
            panel.plot(*_points(shown, f"eval_{name}", scale), "o", color=line.get_color())
    for panel, (_, title) in zip(panels, _PANELS, strict=True):
        panel.set(xlabel="million tokens" if by_tokens else "updates", title=title)
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def _points(
    records: Sequence[Mapping[str, Any]], name: str, scale: float
) -> tuple[list[float], list[float]]:
    found = [one for one in records if name in one]
    return [one["step"] * scale for one in found], [one[name] for one in found]


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("curves", type=Curve.parse, nargs="+", help="LABEL@TOKENS=metrics.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="A name in .svg or .png.")
    parser.add_argument("--width", type=int, default=20, help="Records that a mean is taken over.")
    parser.add_argument("--end", type=float, help="Updates or million tokens that are shown.")
    arguments = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "bert_ko"  # the same figures give the same bytes
    figure = draw(arguments.curves, arguments.width, arguments.end)
    is_svg = arguments.output.suffix == ".svg"
    figure.savefig(arguments.output, metadata={"Date": None} if is_svg else None)
    print(arguments.output)


if __name__ == "__main__":
    main()
