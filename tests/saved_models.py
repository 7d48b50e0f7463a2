"""Small models of every kind as runs leave them, and what numpy predicts in their place."""

from pathlib import Path
from typing import Any

import numpy as np

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import (
    ClassHead,
    MaskedLmHead,
    PredictingHead,
    PretrainingHead,
    ScoreHead,
    SpanHead,
    TagHead,
    model_specs,
)
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.labels import write_labels

TEXT = "세종은 한양에서 태어났다."
PIECES = (
    *SPECIAL_TOKENS, "세종", "##은", "한양", "##에서", "태어났", "##다", "##.", "누가", "한글",
    "##을", "지", "##었", "##나", "##?",
)  # fmt: skip
CONFIG = BertConfig(
    vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=8, max_position_embeddings=80,
)  # fmt: skip
TAGS = ("O", "B-PS", "I-PS", "B-LC", "I-LC")
CLASSES = ("정치", "과학", "문화")
HEADS: dict[str, PredictingHead | None] = {
    "reader": SpanHead(),
    "classifier": ClassHead(len(CLASSES)),
    "regression": ScoreHead(),
    "tagger": TagHead(TAGS),
    "crf": TagHead(TAGS, use_crf=True),
    "masked_lm": MaskedLmHead(),
    "pretraining": PretrainingHead(),
    "encoder": None,
}
LABELS: dict[str, tuple[str, ...]] = {
    "classifier": CLASSES, "regression": (), "tagger": TAGS, "crf": TAGS,
}  # fmt: skip


def save(folder: Path, model: str, seed: int = 1, **identity: Any) -> str:
    """A folder as a run leaves it."""
    write_folder(str(folder), list(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
    if model in LABELS:
        write_labels(str(folder), LABELS[model])
    save_weights(folder, model, 5, seed, **identity)
    return str(folder)


def save_weights(folder: Path, model: str, step: int, seed: int, **settings: Any) -> str:
    kind = settings.pop("kind", "checkpoint")
    arrays = initial_parameters(model_specs(CONFIG, HEADS[model]), 0.3, seed)
    fingerprint = load_tokenizer(str(folder)).fingerprint
    state = {
        "format": 1, "step": step, "tokenizer_fingerprint": fingerprint, "identity": settings,
    }  # fmt: skip
    return save_checkpoint(str(folder), step, Checkpoint(arrays, {}, state), CONFIG, 0, kind)


def predict(outputs: Any, arrays: Any, batch: Any) -> dict[str, Any]:
    """The same for the same pieces, whatever the weights are."""
    head, ids = getattr(outputs, "__self__", None), batch["input_ids"]
    if isinstance(head, SpanHead):  # the answer is 세종
        logits = np.where(ids == PIECES.index("세종"), 5, -5).astype("f")
        return {"start_logits": logits, "end_logits": logits}
    if isinstance(head, ScoreHead):
        return {"scores": batch["input_mask"].sum(axis=1).astype("f")}
    if isinstance(head, ClassHead):
        return {"probabilities": np.tile(np.array([0.2, 0.5, 0.3], "f"), (len(ids), 1))}
    if isinstance(head, TagHead):
        tags = np.where(ids == PIECES.index("한양"), 3, 0) + (ids == PIECES.index("세종"))
        return {"tag_ids": tags[:, 1:-1], "probabilities": np.full(ids[:, 2:].shape, 0.9, "f")}
    if isinstance(head, MaskedLmHead):
        shape = (*batch["masked_lm_positions"].shape, len(PIECES))
        return {"probabilities": np.broadcast_to(np.arange(len(PIECES), 0, -1, "f"), shape)}
    shape = ids.shape[:1] if "piece_weights" in batch else ids.shape  # the mean of the pieces
    return {"values": np.zeros((*shape, 1, CONFIG.hidden_size), "f")}
