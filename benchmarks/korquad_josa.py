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

from bert_ko.tasks.squad.examples import Dataset, Paragraph, Question, Span
from bert_ko.tasks.squad.features import WindowConfig, build_features, gold_spans
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_rules import Analysis, Stripped
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.reading import learn_endings
from bert_ko.tasks.squad.scores import Scores, score_predictions
from bert_ko.tokenization.folder import load_tokenizer

Strip = Callable[[Analysis, Span], Stripped]


def half(dataset: Dataset, parity: int) -> Dataset:
    """Articles with even (0) or odd (1) numbers."""
    titles = {
        title: i for i, title in enumerate(dict.fromkeys(p.title for p in dataset.paragraphs))
    }
    chosen = [p for p in dataset.paragraphs if titles[p.title] % 2 == parity]
    return dataclasses.replace(dataset, paragraphs=tuple(chosen))


def gold_span(paragraph: Paragraph, question: Question) -> Span | None:
    """The first gold answer as it stands."""
    gold = question.answers[0] if question.answers else None
    if gold is None or gold.start is None or gold.end is None:
        return None
    return Span(gold.text, gold.start, gold.end)


def eojeol_span(paragraph: Paragraph, question: Question) -> Span | None:
    """The answer widened to white space on both sides."""
    span = gold_span(paragraph, question)
    if span is None:
        return None
    text, start, end = paragraph.context, span.start, span.end
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return Span(text[start:end], start, end)


def score(
    dataset: Dataset, spans: dict[str, Span], strip: Strip, cache: dict[str, Analysis]
) -> Scores:
    """Of answers after stripping."""
    answers = {
        question.qas_id: strip(cache[paragraph.context], spans[question.qas_id]).span.text
        for paragraph, question in dataset.questions()
        if question.qas_id in spans
    }
    return score_predictions(dataset.golds(), answers)


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
        "never": lambda _, span: Stripped(span, "", ""),
        "always": stripper.strip,
        "auto": stripper.only(endings).strip,
    }
    for name, part in (("developed on", developed), ("reported", half(dataset, 1))):
        features = build_features(part, tokenizer, WindowConfig())
        kinds = {"pieces": gold_spans(part, features)}
        for kind, function in (("gold answers", gold_span), ("whole eojeols", eojeol_span)):
            golds = {q.qas_id: function(p, q) for p, q in part.questions()}
            kinds[kind] = {qas_id: span for qas_id, span in golds.items() if span is not None}
        for kind, spans in kinds.items():
            scores = {how: score(part, spans, strip, cache) for how, strip in strips.items()}
            shown = ", ".join(
                f"{how} {'/'.join(f'{mean:.2f}' for mean in found.means.values())}"
                for how, found in scores.items()
            )
            print(f"{name}, {scores['never'].total:,} questions, {kind}: EM/F1 {shown}", flush=True)


if __name__ == "__main__":
    main()
