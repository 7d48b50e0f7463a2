#!/usr/bin/env python3
"""Draws the loss curve of a run from its metrics.jsonl: masked-LM loss and accuracy by step.

python benchmarks/plot_metrics.py model/metrics.jsonl docs/loss.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from common import ROOT  # noqa: F401 - puts the checkout on the path

from bert_ko.training.metrics import read_metrics

_PANELS = (("masked_lm_loss", "masked-LM loss"), ("masked_lm_accuracy", "masked-LM accuracy"))


def smoothed(values: list[float], width: int) -> list[float]:
    """Means over the last ``width`` values."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [
        (sums[i + 1] - sums[max(0, i + 1 - width)]) / min(i + 1, width) for i in range(len(values))
    ]


def draw(records: list[dict[str, Any]], width: int) -> Any:
    """A figure with a panel for each quantity."""
    training = [record for record in records if "loss" in record]
    held_out = [record for record in records if "eval_loss" in record]
    figure, panels = plt.subplots(1, len(_PANELS), figsize=(10, 3.6), layout="constrained")
    for panel, (name, label) in zip(panels, _PANELS, strict=True):
        steps = [record["step"] for record in training]
        values = [record[name] for record in training]
        panel.plot(steps, values, color="#c9d7e8", linewidth=0.6)
        panel.plot(steps, smoothed(values, width), color="#1f5a99", label="training")
        panel.plot(
            [record["step"] for record in held_out],
            [record[f"eval_{name}"] for record in held_out],
            "o",
            color="#c4472d",
            label="held out",
        )
        panel.set(xlabel="step", title=label)
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metrics", type=Path)
    parser.add_argument("picture", type=Path, help="Its extension decides the format: .svg, .png.")
    parser.add_argument("--width", type=int, default=20, help="Records that a mean is taken over.")
    arguments = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "bert_ko"  # the same figures give the same bytes
    figure = draw(read_metrics(str(arguments.metrics)), arguments.width)
    figure.savefig(
        arguments.picture, metadata={"Date": None} if arguments.picture.suffix == ".svg" else None
    )
    print(arguments.picture)


if __name__ == "__main__":
    main()
