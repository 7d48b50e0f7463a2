"""One of each head that is trained, for tests that hold for all of them."""

from typing import Any

from bert_ko.modeling.heads import ClassHead, PretrainingHead, ScoreHead, SpanHead, TagHead

LABELS = ("O", "B-LC", "I-LC", "B-PS", "I-PS")
HEADS: dict[str, Any] = {
    "pretraining": PretrainingHead(),
    "spans": SpanHead(),
    "classes": ClassHead(4),
    "scores": ScoreHead(),
    "tags": TagHead(LABELS),
    "crf": TagHead(LABELS, use_crf=True),
}
