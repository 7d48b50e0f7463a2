"""What a run of the pipeline tells its user, as a table and as the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_ko.data.pipeline import FinishedRun

_DROPPED = {
    "duplicate_documents": "duplicate documents",
    "lines_without_text": "lines of invisible characters alone",
    "empty_records": "records without text",
    "bad_records": "bad records",
    "truncated_pieces": "pieces cut off to fit the length",
}
_MENDED = {
    "invalid_utf8_lines": "lines with invalid UTF-8, replaced (CP949? `iconv -f cp949 -t utf-8`)",
    "long_lines_cut": "lines too long, cut into several sentences",
}


def totals(finished: FinishedRun) -> dict[str, Any]:
    """Sums and shares for the manifest; shares are of 1."""
    counts = finished.counts
    shares = {
        "unknown_share": _share(counts, "unknown_pieces", "pieces"),
        "padding_share": 1 - _share(counts, "used_cells", "cells"),
        "positive_label_share": _share(counts, "positive_labels", "instances"),
    }
    if "masked_pieces" in counts:
        for unit in ("pieces", "morphemes", "eojeols"):
            shares[f"masked_{unit}_share"] = _share(counts, f"masked_{unit}", f"instance_{unit}")
    names = ("documents", "sentences", "morphemes", "pieces", "instances", "instance_pieces")
    return {
        **{name: counts[name] for name in names},
        **{name: round(share, 6) for name, share in shares.items()},
        "dropped": {name: counts[name] for name in _DROPPED},
        "mended": {name: counts[name] for name in _MENDED},
        "examples": {what: places for what, places in sorted(finished.examples.items()) if places},
    }


def table_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The totals of a manifest as names and values; what did not happen is left out."""
    rows = [
        (name, f"{values[name]:,}")
        for name in ("documents", "sentences", "morphemes", "pieces", "instances")
    ]
    shares = {
        "unknown_share": "[UNK] among pieces",
        "padding_share": "padding",
        "masked_pieces_share": "pieces masked",
        "masked_morphemes_share": "morphemes masked, in whole or part",
        "masked_eojeols_share": "eojeols masked, in whole or part",
        "positive_label_share": "next_sentence_labels of 1",
    }
    rows += [(text, f"{values[name]:.2%}") for name, text in shares.items() if name in values]
    for kind, texts in (("dropped", _DROPPED), ("mended", _MENDED)):
        for name, text in texts.items():
            if values[kind][name]:
                places = ", ".join(values["examples"].get(name, [])[:2])
                rows.append(
                    (f"{text}{f' ({places} …)' if places else ''}", f"{values[kind][name]:,}")
                )
    return rows


def _share(counts: Mapping[str, int], part: str, whole: str) -> float:
    return counts[part] / max(1, counts[whole])
