"""The outputs of two forms of a model on a few sentences, and their largest difference.

Legend: B sentences, L longest, V vocabulary.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import (
    CLASS_WEIGHTS,
    OUTPUT_BIAS,
    RELATIONSHIP_WEIGHTS,
    SPAN_WEIGHTS,
    TAG_WEIGHTS,
    ClassHead,
    MaskedLmHead,
    NextSentenceHead,
    SpanHead,
    TagHead,
)
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.hugging_face import class_suffixes, hugging_face_form

SENTENCES = (
    "마을 도서관은 언덕 위에 있다.",
    "비가 그치자 아이들이 운동장으로 뛰어나왔습니다.",
    "1987년에 지은 다리를 2024년에 다시 고쳤다.",
    "그는 ‘내일’이라는 낱말을 세 번이나 되풀이했다!",
    "Python으로 쓴 프로그램이 3.5초 만에 끝났어요 😊",
)
LIMIT = 1e-4
NOT_WRITTEN = "nothing was written (--nocompare writes it all the same)"
Outputs = dict[str, npt.NDArray[np.float32]]
_LENGTH = 64
_LOGITS = {
    "ForMaskedLM": "masked_lm_logits",
    "ForSequenceClassification": "class_logits",
    "ForTokenClassification": "tag_logits",
    "ForNextSentencePrediction": "next_sentence_logits",
}
_LAST = "sequence_output"
_THEIR_NAMES = {
    _LAST: _LAST,
    "prediction_logits": "masked_lm_logits",
    "seq_relationship_logits": "next_sentence_logits",
    "start_logits": "start_logits",
    "end_logits": "end_logits",
}
_OF_TEXTS = ("next_sentence_logits", "class_logits", "probabilities", "scores")


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
    arrays: Arrays, config: ModelConfig, batch: Mapping[str, npt.NDArray[np.int32]]
) -> Outputs:
    """The outputs of our model in float32: sequence_output, and the logits of its heads."""
    backend = load_backend(DeviceConfig(num_devices=1, precision="float32", attention="plain"))
    return backend.predictor(config, dict(arrays), all_outputs)(dict(batch))


def all_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """Sequence_output [B, L, H], and the logits of the heads whose variables the model has.

    The batch has input_ids, input_mask, segment_ids, int32 [B, L].
    """
    output, params = encode(model, batch), model.params
    found = {"sequence_output": output}
    rows, length = batch["input_ids"].shape
    if OUTPUT_BIAS in params:
        places = ops.tile(ops.arange(length, dtype="int32")[None], (rows, 1))
        found["masked_lm_logits"] = MaskedLmHead().logits(model, output, places)
    if RELATIONSHIP_WEIGHTS in params:
        found["next_sentence_logits"] = NextSentenceHead().logits(model, batch, output)
    if CLASS_WEIGHTS in params:
        head = ClassHead(params[CLASS_WEIGHTS].shape[0])
        found["class_logits"] = head.logits(model, batch, output)
    if TAG_WEIGHTS in params:
        found["tag_logits"] = TagHead(()).logits(model, batch, output)
    if SPAN_WEIGHTS in params:
        start, end = SpanHead().logits(model, batch, output)
        found["start_logits"], found["end_logits"] = start, end
    return found


def can_run_transformers() -> bool:
    """Whether the other side's packages are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def their_outputs(
    folder: str,
    config: ModelConfig,
    arrays: Mapping[str, Any],
    batch: Mapping[str, npt.NDArray[np.int32]],
) -> Outputs | None:
    """The outputs of transformers' models in a folder; see ``our_outputs``.

    The variables in ``arrays``, by Google's names, decide about the classes; together these
    compute every head. None if transformers can't load all weights, as under other names.
    """
    prefix, found = hugging_face_form(config).class_prefix, Outputs()
    for suffix in class_suffixes(arrays):
        outputs = _outputs_of_class(folder, f"{prefix}{suffix}", batch)
        if outputs is None:
            return None
        names = {**_THEIR_NAMES, "logits": _LOGITS.get(suffix, "")}
        found |= {ours: outputs[theirs] for theirs, ours in names.items() if theirs in outputs}
    if "tag_logits" in found:  # ours are those of the text alone
        found["tag_logits"] = found["tag_logits"][:, 1:-1]
    return found


def _outputs_of_class(
    folder: str, name: str, batch: Mapping[str, npt.NDArray[np.int32]]
) -> Outputs | None:
    """By transformers' names; None if weights are missing or have another shape."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # it lists what a class doesn't use
    try:
        model, info = getattr(transformers, name).from_pretrained(
            folder, attn_implementation="eager", output_loading_info=True
        )
    except RuntimeError:  # a head of another size than the configuration says
        return None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    if any("pooler" not in missing for missing in info["missing_keys"]):
        return None
    with torch.no_grad():
        output = model.eval()(
            input_ids=torch.from_numpy(batch["input_ids"]).long(),
            attention_mask=torch.from_numpy(batch["input_mask"]).long(),
            token_type_ids=torch.from_numpy(batch["segment_ids"]).long(),
            output_hidden_states=True,
        )
    found = {name: output[name].numpy() for name in output if name.endswith("logits")}
    return {_LAST: output.hidden_states[-1].numpy(), **found}


def largest_difference(
    one: Outputs, other: Outputs, mask: npt.NDArray[np.int32], pieces: Sequence[int] | None
) -> dict[str, float]:
    """By the outputs that both have, over real pieces.

    Args:
        one: outputs of one side.
        other: of the other.
        mask: input_mask int32 [B, L].
        pieces: ids whose logits are compared; None for all.
    """
    found = {}
    for name in sorted(one.keys() & other.keys()):
        a, b = one[name], other[name]
        if name == "masked_lm_logits" and pieces is not None:
            a, b = a[..., pieces], b[..., pieces]
        if name not in _OF_TEXTS:
            here = (mask[:, 2:] if name == "tag_logits" else mask) > 0
            a, b = a[here], b[here]
        found[name] = float(np.abs(a - b).max())
    return found


def shown(differences: Mapping[str, float]) -> str:
    """Differences as they are printed."""
    return ", ".join(f"{name} {value:.1e}" for name, value in differences.items())


def refuse_difference(differences: Mapping[str, float], path: str) -> None:
    """Refuses a conversion of the model at ``path`` whose outputs are not the same.

    Raises:
        ValueError: one of them differs by more than LIMIT.
    """
    worst = max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))
    if not differences[worst] <= LIMIT:
        raise ValueError(
            f"the conversion differs from {path} by {differences[worst]:.1e} in {worst}, more than "
            f"{LIMIT:.0e}; {NOT_WRITTEN}."
        )
