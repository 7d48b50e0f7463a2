#!/usr/bin/env python3
"""What tokens and josa-stripping make of KorQuAD's gold answers, without a model.

Rules were developed on the articles with even numbers of korquad/train.json; figures are of those
with odd numbers.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable

from common import DATA, VOCAB, machine

from bert_ko.tasks.squad.examples import Dataset, Paragraph, Question, read_dataset
from bert_ko.tasks.squad.features import Features, WindowConfig, build_features
from bert_ko.tasks.squad.josa import Analysis, JosaStripper, Stripped
from bert_ko.tasks.squad.josa_policy import HelpfulStripper, learn_endings
from bert_ko.tasks.squad.scores import Scores, score_predictions
from bert_ko.tokenization.folder import load_tokenizer

Span = tuple[int, int]
Strip = Callable[[Analysis, int, int], Stripped]


def half(dataset: Dataset, parity: int) -> Dataset:
    """Articles with even (0) or odd (1) numbers."""
    titles = {
        title: i for i, title in enumerate(dict.fromkeys(p.title for p in dataset.paragraphs))
    }
    chosen = [p for p in dataset.paragraphs if titles[p.title] % 2 == parity]
    return dataclasses.replace(dataset, paragraphs=tuple(chosen))


def gold_span(paragraph: Paragraph, question: Question) -> Span | None:
    """The first gold answer as it stands."""
    answer = question.answers[0] if question.answers else None
    if answer is None or answer.start is None or answer.end is None:
        return None
    return answer.start, answer.end


def eojeol_span(paragraph: Paragraph, question: Question) -> Span | None:
    """The answer widened to white space on both sides."""
    span = gold_span(paragraph, question)
    if span is None:
        return None
    text, (start, end) = paragraph.context, span
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return start, end


def piece_spans(dataset: Dataset, features: Features) -> dict[str, Span]:
    """The answers in whole pieces."""
    spans = {}
    number = 0
    for context, paragraph in enumerate(dataset.paragraphs):
        offset = features.context_offsets[context]
        for question in paragraph.questions:
            first, last = features.answer_first[number], features.answer_last[number]
            number += 1
            if first >= 0:
                spans[question.qas_id] = (
                    int(features.context_starts[offset + first]),
                    int(features.context_ends[offset + last]),
                )
    return spans


def score(
    dataset: Dataset, spans: dict[str, Span], strip: Strip, cache: dict[str, Analysis]
) -> Scores:
    """Of answers after stripping."""
    golds, answers = {}, {}
    for paragraph in dataset.paragraphs:
        for question in paragraph.questions:
            golds[question.qas_id] = [answer.text for answer in question.answers]
            if question.qas_id in spans:
                stripped = strip(cache[paragraph.context], *spans[question.qas_id])
                answers[question.qas_id] = paragraph.context[stripped.start : stripped.end]
    return score_predictions(golds, answers)


def main() -> None:
    """Prints a table."""
    path = DATA / "korquad" / "train.json"
    if not path.is_file():
        sys.exit(f"no {path}; set BERT_KO_DATA to a folder that has it.")
    dataset, tokenizer = read_dataset(str(path)), load_tokenizer(str(VOCAB))
    start = time.perf_counter()
    build_features(dataset, tokenizer, WindowConfig())
    print(f"{machine()}\nfeatures of {path.name}: {time.perf_counter() - start:.2f} s (goal 6)")
    stripper = JosaStripper()
    start = time.perf_counter()
    cache = {p.context: stripper.analyze(p.context) for p in dataset.paragraphs}
    print(f"analysing {len(cache):,} contexts: {time.perf_counter() - start:.2f} s")
    developed = half(dataset, 0)
    endings = learn_endings(
        developed, build_features(developed, tokenizer, WindowConfig()), stripper
    )
    print(f"auto strips: {', '.join(endings) or 'nothing'}")
    strips: dict[str, Strip] = {
        "never": lambda _, start, end: Stripped(start, end, "", ""),
        "always": stripper.strip,
        "auto": HelpfulStripper(stripper, endings).strip,
    }
    for name, part in (("developed on", developed), ("reported", half(dataset, 1))):
        features = build_features(part, tokenizer, WindowConfig())
        kinds: dict[str, dict[str, Span]] = {"pieces": piece_spans(part, features)}
        for kind, function in (("gold answers", gold_span), ("whole eojeols", eojeol_span)):
            found = {q.qas_id: function(p, q) for p in part.paragraphs for q in p.questions}
            kinds[kind] = {qas_id: span for qas_id, span in found.items() if span is not None}
        for kind, spans in kinds.items():
            scores = {how: score(part, spans, strip, cache) for how, strip in strips.items()}
            shown = ", ".join(f"{how} {s.exact_match:.2f}/{s.f1:.2f}" for how, s in scores.items())
            print(f"{name}, {scores['never'].total:,} questions, {kind}: EM/F1 {shown}", flush=True)


if __name__ == "__main__":
    main()
