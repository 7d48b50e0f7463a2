"""Whether two forms of a model say the same, on a few sentences.

Legend: B sentences, L longest, V vocabulary.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.hugging_face import architecture

SENTENCES = (
    "마을 도서관은 언덕 위에 있다.",
    "비가 그치자 아이들이 운동장으로 뛰어나왔습니다.",
    "1987년에 지은 다리를 2024년에 다시 고쳤다.",
    "그는 ‘내일’이라는 낱말을 세 번이나 되풀이했다!",
    "Python으로 쓴 프로그램이 3.5초 만에 끝났어요 😊",
)
LIMIT = 1e-4
Outputs = dict[str, npt.NDArray[np.float32]]
_LENGTH = 64
_LOGITS = {
    "BertForMaskedLM": "masked_lm_logits",
    "BertForSequenceClassification": "class_logits",
    "BertForTokenClassification": "tag_logits",
}
_OF_TEXTS = ("next_sentence_logits", "class_logits")


def prepare_sentences(tokenizer: Tokenizer, max_length: int) -> dict[str, npt.NDArray[np.int32]]:
    """The sentences as pairs: input_ids, input_mask, segment_ids int32 [B, L]."""
    vocab, length = tokenizer.vocab, min(_LENGTH, max_length)
    ids = np.full((len(SENTENCES), length), vocab.pad_id, np.int32)
    mask, segments = np.zeros_like(ids), np.zeros_like(ids)
    for row, sentence in enumerate(SENTENCES):
        first = tokenizer.encode(sentence).ids[: length // 2 - 2]
        second = tokenizer.encode(SENTENCES[row - 1]).ids[: length // 2 - 1]
        line = [vocab.cls_id, *first, vocab.sep_id, *second, vocab.sep_id]
        ids[row, : len(line)] = line
        mask[row, : len(line)] = 1
        segments[row, len(first) + 2 : len(line)] = 1
    return {"input_ids": ids, "input_mask": mask, "segment_ids": segments}


def our_outputs(
    arrays: Arrays, config: BertConfig, batch: Mapping[str, npt.NDArray[np.int32]]
) -> Outputs:
    """What our model says in float32: sequence_output, and the logits of the heads it has."""
    backend = load_backend(DeviceConfig(num_devices=1, precision="float32", attention="plain"))
    from bert_ko.tasks.comparison_head import all_outputs, no_loss

    program = backend.train_program(config, no_loss, None, dict(arrays), 0)
    return program.predictor(all_outputs)(dict(batch))


def can_run_transformers() -> bool:
    """Whether the other side's packages are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def their_outputs(
    folder: str, arrays: Mapping[str, Any], batch: Mapping[str, npt.NDArray[np.int32]]
) -> Outputs:
    """What transformers' model says; see ``our_outputs``.

    Args:
        folder: Hugging Face folder.
        arrays: by Google's names, which decide about the class.
        batch: of ``prepare_sentences``.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    name = architecture(arrays)
    model = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        output = model(
            input_ids=torch.from_numpy(batch["input_ids"]).long(),
            attention_mask=torch.from_numpy(batch["input_mask"]).long(),
            token_type_ids=torch.from_numpy(batch["segment_ids"]).long(),
            output_hidden_states=True,
        )
    names = {
        "prediction_logits": "masked_lm_logits",
        "seq_relationship_logits": "next_sentence_logits",
        "start_logits": "start_logits",
        "end_logits": "end_logits",
    }
    if name in _LOGITS:
        names = {"logits": _LOGITS[name]}
    found = {ours: output[theirs].numpy() for theirs, ours in names.items() if theirs in output}
    return {"sequence_output": output.hidden_states[-1].numpy(), **found}


def largest_difference(
    one: Outputs, other: Outputs, mask: npt.NDArray[np.int32], pieces: Sequence[int] | None
) -> dict[str, float]:
    """By output, over real pieces.

    Args:
        one: of one side.
        other: of the other; outputs that both have are compared.
        mask: input_mask [B, L].
        pieces: ids whose logits are compared, None for all.
    """
    found = {}
    for name in sorted(one.keys() & other.keys()):
        a, b = one[name], other[name]
        if name == "masked_lm_logits" and pieces is not None:
            a, b = a[..., pieces], b[..., pieces]
        if name not in _OF_TEXTS:
            a, b = a[mask > 0], b[mask > 0]
        found[name] = float(np.abs(a - b).max())
    return found
