"""What a run counted: for its manifest, and for the table at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bert_ko.data.documents import DROPPED, MENDED
from bert_ko.data.pipeline import FinishedRun
from bert_ko.data.settings import Objective

# The table's names of sums and shares.
COUNTS = {
    name: name
    for name in ("documents", "sentences", "morphemes", "pieces", "instances", "words", "records")
}
SHARES = {
    "unknown_share": "not in the vocabulary",
    "padding_share": "padding",
    "unseen_share": "pieces never seen",
    "masked_pieces_share": "pieces masked",
    "masked_morphemes_share": "morphemes masked, in whole or part",
    "masked_eojeols_share": "eojeols masked, in whole or part",
    "positive_label_share": "next_sentence_labels of 1",
}
# What is dropped or mended with one objective alone.
_HAPPENS_WITH = {"truncated_pieces": "masked_lm", "long_sentences_cut": "bilm"}


def totals(finished: FinishedRun, objective: Objective) -> dict[str, Any]:
    """Sums and shares (of 1) for the manifest."""
    names, shares = (_of_words if objective == "bilm" else _of_instances)(finished.counts)
    kinds = {"dropped": DROPPED, "mended": MENDED}
    return {
        **{name: finished.counts[name] for name in names},
        **{name: round(share, 6) for name, share in shares.items()},
        **{
            kind: {name: finished.counts[name] for name in texts if _happens(name, objective)}
            for kind, texts in kinds.items()
        },
        "examples": {what: places for what, places in sorted(finished.examples.items()) if places},
    }


def _happens(name: str, objective: Objective) -> bool:
    """Whether an objective can drop or mend a text so."""
    return _HAPPENS_WITH.get(name, objective) == objective


def _of_words(counts: Counter[str]) -> tuple[list[str], dict[str, float]]:
    """Names of sums, and shares."""
    names = ["documents", "sentences", "words", "records", "record_words", "unknown_words"]
    return names, {"unknown_share": _share(counts, "unknown_words", "record_words")}


def _of_instances(counts: Counter[str]) -> tuple[list[str], dict[str, float]]:
    """Names of sums, and shares."""
    shares = {
        "unknown_share": _share(counts, "unknown_pieces", "pieces"),
        "padding_share": 1 - _share(counts, "used_cells", "cells"),
        "positive_label_share": _share(counts, "positive_labels", "instances"),
    }
    if "unseen_pieces" in counts:
        all_pieces = counts["seen_pieces"] + counts["unseen_pieces"]
        shares["unseen_share"] = counts["unseen_pieces"] / max(1, all_pieces)
    if "masked_pieces" in counts:
        for unit in ("pieces", "morphemes", "eojeols"):
            shares[f"masked_{unit}_share"] = _share(counts, f"masked_{unit}", f"instance_{unit}")
    names = ["documents", "sentences", "morphemes", "pieces", "instances", "instance_pieces"]
    names += ["unseen_pieces"] if "unseen_pieces" in counts else []
    return names, shares


def _share(counts: Mapping[str, int], part: str, whole: str) -> float:
    return counts[part] / max(1, counts[whole])


def table_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The totals of a manifest as names and values, without what did not happen."""
    rows = [(text, f"{values[name]:,}") for name, text in COUNTS.items() if name in values]
    unknown = "[UNK] among pieces" if "pieces" in values else "<UNK> among words"
    shares = {**SHARES, "unknown_share": unknown}
    rows += [(text, f"{values[name]:.2%}") for name, text in shares.items() if name in values]
    for kind, texts in (("dropped", DROPPED), ("mended", MENDED)):
        for name, text in texts.items():
            if values[kind].get(name):
                places = ", ".join(values["examples"].get(name, [])[:2])
                text = f"{text} ({places} …)" if places else text
                rows.append((text, f"{values[kind][name]:,}"))
    return rows
