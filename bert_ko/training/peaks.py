"""The rates that data sheets state, for model FLOPs utilisation."""

from __future__ import annotations

import re

# Dense bfloat16 products, TFLOP/s, by what a device calls itself; the first that matches counts.
# Source: data sheets of NVIDIA (the figures without sparsity) and of Google Cloud TPU.
_PEAKS = (
    (r"H100 PCIe", 756),
    (r"H100 NVL", 835),
    (r"H[12]00|GH200", 989),
    (r"B200", 2250),
    (r"A100", 312),
    (r"A30", 165),
    (r"L40S", 362),
    (r"L4\b", 121),
    (r"RTX 4090", 165),
    (r"RTX 3090\b(?! Ti)", 71),
    (r"TPU v4", 275),
    (r"TPU v5 ?(lite|e)", 197),
    (r"TPU v5", 459),
    (r"TPU v6", 918),
)


def peak_flops(kind: str) -> float | None:
    """Operations a second of one device in bfloat16; None if its data sheet is not known here.

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("TPU v5 lite"), peak_flops("cpu")
    (989000000000000.0, 197000000000000.0, None)
    """
    return next((peak * 1e12 for name, peak in _PEAKS if re.search(name, kind)), None)
