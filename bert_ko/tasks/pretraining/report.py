"""report.html of run_pretraining: curves, guesses for [MASK], neighbours and positions.

Legend: V vocabulary, H hidden_size, P positions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.report.blocks import Block, Headline, Map, Note, Row, Section, Table, text
from bert_ko.report.curves import metric_curves
from bert_ko.report.facts import base_name, described_files, given_flags, made_facts
from bert_ko.report.languages import Texts
from bert_ko.report.page import Page, curve_sections, render_page, run_section
from bert_ko.tasks.pretraining.guesses import GUESSES_NAME
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.runs import LOG_NAME

Floats = npt.NDArray[np.float32]
_CURVES = {
    "Loss": {"loss": "training", "eval_loss": "evaluation"},
    "Masked-LM accuracy, percent": {
        "masked_lm_accuracy": "training", "eval_masked_lm_accuracy": "evaluation",
    },
    "Next-sentence accuracy, percent": {
        "next_sentence_accuracy": "training", "eval_next_sentence_accuracy": "evaluation",
    },
    "Perplexity": {"eval_perplexity": "evaluation"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Tokens per second": {"tokens_per_second": "training"},
}  # fmt: skip
_FRACTIONS = tuple(
    f"{part}{name}_accuracy" for part in ("", "eval_") for name in ("masked_lm", "next_sentence")
)
_HEADLINE = {
    "loss": "Loss",
    "eval_loss": "Loss, held-out",
    "masked_lm_accuracy": "Masked-LM accuracy",
    "eval_masked_lm_accuracy": "Masked-LM accuracy, held-out",
    "eval_perplexity": "Perplexity, held-out",
}
_MORPHEMES = ("학교", "사람", "서울", "책", "물", "오늘", "좋", "먹", "에서", "의")
_NEIGHBOURS, _MOST_STEPS, _MOST_PLACES, _LEVELS = 6, 12, 48, 8
_RESUMED = re.compile(r"^resuming from step ([\d,]+)$", re.MULTILINE)


class Weights(NamedTuple):
    """What the page shows of a model's weights."""

    words: Floats  # [V, H]
    positions: Floats  # [P, H]; those that training has reached
    tokenizer: Tokenizer


def render_report(
    config: PretrainingFlags,
    shards: Sequence[str],
    facts: Sequence[tuple[str, str]],
    step: int,
    weights: Weights | None = None,
) -> str:
    """Returns the page of a run.

    Args:
        config: flags; the run is in its output_dir.
        shards: that were trained on.
        facts: of the model, in English.
        step: updates of the weights.
        weights: of a model with a vocabulary that is known.
    """
    folder, t = config.local_dir, Texts(config.report_language)
    records = read_metrics(os.path.join(folder, METRICS_NAME))
    resumes = read_resumes(os.path.join(folder, LOG_NAME))
    figures = metric_curves(t, [records], _CURVES, _FRACTIONS, resumes)
    title = t("{folder}: pre-training", folder=base_name(config.output_dir))
    about = [
        (t("trained on"), described_files(shards) if shards else t("not in this run")),
        (t("updates"), f"{step:,}"),
        (t("seed"), str(config.random_seed)),
        *((t(name), value) for name, value in facts),
        *made_facts(t),
    ]
    sections = [
        Section("scores", t("Scores"), [Headline(_headline(t, records))]),
        *curve_sections(t, figures),
        *_guess_sections(t, read_metrics(os.path.join(folder, GUESSES_NAME))),
        *(_weight_sections(t, weights) if weights is not None else []),
        run_section(t, about, given_flags(config)),
    ]
    return render_page(Page(title, sections), t=t)


def read_resumes(path: str) -> list[int]:
    """Returns the steps at which a run was resumed, as its log says."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [int(step.replace(",", "")) for step in _RESUMED.findall(file.read())]
    except FileNotFoundError:
        return []


def _headline(t: Texts, records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    figures = []
    for key, name in _HEADLINE.items():
        found = next((record for record in reversed(records) if key in record), None)
        if found is not None:
            value = f"{found[key]:.2%}" if key in _FRACTIONS else f"{found[key]:.4g}"
            figures.append((t(name), value, t("at step {step}", step=f"{found['step']:,}")))
    return figures


def _guess_sections(t: Texts, records: Sequence[Mapping[str, Any]]) -> list[Section]:
    if not records:
        return []
    places = np.linspace(0, len(records) - 1, min(_MOST_STEPS, len(records))).astype(int)
    blocks: list[Block] = []
    for sentence in records[-1]["guesses"]:
        rows: list[Row] = []
        for record in (records[place] for place in np.unique(places)):
            best = record["guesses"].get(sentence, [])
            cells = [text(f"{piece} {100 * chance:.0f} %") for piece, chance in best]
            rows.append((f"{record['step']:,}", *cells))
        names = [t("Step"), *(t("Guess {number}", number=i + 1) for i in range(len(rows[-1]) - 1))]
        blocks.append(Table(sentence, names, [row for row in rows if len(row) == len(names)]))
    said = t("The likeliest pieces for [MASK] in sentences that stay the same, by evaluation.")
    return [Section("guesses", t("Guesses"), [Note(said), *blocks])] if blocks else []


def _weight_sections(t: Texts, weights: Weights) -> list[Section]:
    rows: list[Row] = [
        (text(piece), text(", ".join(found))) for piece, found in neighbours(weights).items()
    ]
    caption = t("Pieces whose input embeddings are closest, by cosine")
    table = Table(caption, [t("Piece"), t("Nearest")], rows)
    sections = [Section("neighbours", t("Neighbours"), [table])] if rows else []
    if len(weights.positions) > 1:
        said = "Cosines of the embeddings of positions 1 to {last}, a row and a column for each"
        caption = t(said, last=len(weights.positions))
        drawing = Map(caption, *_similarity_map(t, weights.positions))
        sections.append(Section("positions", t("Positions"), [drawing]))
    return sections


def neighbours(weights: Weights) -> dict[str, list[str]]:
    """Returns the closest pieces to some morphemes that the vocabulary has."""
    vocab = weights.tokenizer.vocab
    wanted = [word for word in _MORPHEMES if word in vocab]
    wanted += [f"##{word}" for word in _MORPHEMES if word not in vocab and f"##{word}" in vocab]
    if not wanted:
        return {}
    rows = _unit(weights.words[[vocab[word] for word in wanted]])
    cosines = rows @ _unit(weights.words).T  # [wanted, V]
    ordinary = np.array(sorted(vocab.ordinary_ids))
    found = {}
    for word, row in zip(wanted, cosines[:, ordinary], strict=True):
        best = ordinary[np.argsort(-row, kind="stable")[: _NEIGHBOURS + 1]]
        names = [vocab.pieces[i] for i in best.tolist()]
        found[word] = [name for name in names if name != word][:_NEIGHBOURS]
    return found


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.maximum(norms, np.float32(1e-12))
    return unit


def _similarity_map(
    t: Texts, positions: Floats
) -> tuple[list[tuple[str, int, int, dict[str, str]]], dict[str, str]]:
    """Squares in levels of the cosine, and what the levels are."""
    unit = _unit(positions)
    places = np.linspace(0, len(unit) - 1, min(_MOST_PLACES, len(unit))).astype(int)
    cosines = unit[places] @ unit[places].T
    levels = np.clip(((cosines + 1) / 2 * _LEVELS).astype(int), 0, _LEVELS - 1)
    paths = {f"level{level}": "" for level in range(_LEVELS)}
    for y, row in enumerate(levels.tolist()):
        x = 0
        for level, group in groupby(row):
            width = len(list(group))
            paths[f"level{level}"] += f"M{x} {y}h{width}v1h-{width}z"
            x += width
    legend = {
        f"level{level}": f"{2 * level / _LEVELS - 1:+.2f} … {2 * (level + 1) / _LEVELS - 1:+.2f}"
        for level in range(_LEVELS)
    }
    return [(t("Similarity"), len(places), len(places), paths)], legend
