"""Small models of every kind in a folder, and numpy in the place of TensorFlow and Keras."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling import bert, heads
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import (
    ClassHead,
    MaskedLmHead,
    PretrainingHead,
    SpanHead,
    TagHead,
    model_specs,
    pooler_specs,
)
from bert_ko.modeling.parameters import Arrays, Specs, initial_parameters
from bert_ko.tasks.conversion import comparison
from bert_ko.tasks.conversion.comparison import SENTENCES
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from tests import fakes
from tests.fakes import FakeBackend

LETTERS = sorted({letter for text in SENTENCES for letter in text.lower() if letter.strip()})
# Every sentence that is compared has pieces.
PIECES = (*SPECIAL_TOKENS, "[unused0]", "[unused1]", *LETTERS, *(f"##{x}" for x in LETTERS))
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40,
}  # fmt: skip
CONFIG = BertConfig(vocab_size=len(PIECES), **SIZES)  # type: ignore[arg-type]
STEP = 300


TAGS = ("O", "B-가", "I-가", "B-나", "I-나")
HEADS: dict[str, Any] = {
    "pretraining": PretrainingHead(),
    "masked_lm": MaskedLmHead(),
    "spans": SpanHead(),
    "classes": ClassHead(3),
    "tags": TagHead(TAGS),
    "crf": TagHead(TAGS, use_crf=True),
}


def specs_of(kind: str, config: BertConfig = CONFIG) -> Specs:
    if kind == "encoder":
        return {**model_specs(config), **pooler_specs(config)}
    return model_specs(config, HEADS[kind])


def arrays_of(kind: str, config: BertConfig = CONFIG) -> Arrays:
    """Far from initial values, so that every variable shows in what the model says.

    Variables of the same name and shape are the same in all kinds.
    """
    found = {}
    for name, value in initial_parameters(specs_of(kind, config), 0.2, seed=4).items():
        rng = np.random.default_rng([4, *name.encode()])
        found[name] = value + rng.normal(0, 0.1, value.shape).astype("f")
    return found


def slots_of(arrays: Arrays) -> Arrays:
    return {
        f"{name}/{slot}": array * scale
        for name, array in arrays.items()
        for slot, scale in (("adam_m", np.float32(0.5)), ("adam_v", np.float32(0.25)))
    }


def write_vocabulary(folder: Path, pieces: Any = PIECES, **settings: Any) -> str:
    write_folder(str(folder), list(pieces), TokenizerConfig(**settings))
    return str(folder)


def save_model(
    folder: Path,
    kind: str = "pretraining",
    arrays: Arrays | None = None,
    config: BertConfig = CONFIG,
    **settings: Any,
) -> str:
    """A folder as a run leaves it: vocabulary and a checkpoint with slots."""
    fingerprint = load_tokenizer(write_vocabulary(folder, **settings)).fingerprint
    arrays = arrays_of(kind, config) if arrays is None else arrays
    state = {"step": STEP, "tokenizer_fingerprint": fingerprint}
    checkpoint = Checkpoint(arrays, slots_of(arrays), state)
    save_checkpoint(str(folder), STEP, checkpoint, config, keep=0)
    return str(folder)


def assert_same_bits(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == np.float32, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# In the place of TensorFlow's checkpoints


class NumpyReader:
    def __init__(self, prefix: str):
        try:
            with np.load(f"{prefix}.index") as values:
                self.values = dict(values)
        except ValueError as error:
            raise ValueError(f"no index\n{error}") from None

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        return {name: list(value.shape) for name, value in self.values.items()}

    def get_tensor(self, name: str) -> Any:
        return self.values[name]


def install_tensorflow(patch: pytest.MonkeyPatch) -> None:
    """What google.py uses of TensorFlow; a checkpoint is one file of numpy's."""

    def save(prefix: str, tensor_names: Any, shape_and_slices: Any, tensors: Any) -> None:
        assert len(tensor_names) == len(shape_and_slices) == len(tensors)
        with open(f"{prefix}.index", "wb") as file:
            np.savez(file, **dict(zip(tensor_names, tensors, strict=True)))

    module: Any = ModuleType("tensorflow")
    module.train = SimpleNamespace(load_checkpoint=NumpyReader)
    module.raw_ops = SimpleNamespace(SaveV2=save)
    module.errors = SimpleNamespace(OpError=RuntimeError)
    module.constant = np.asarray
    patch.setitem(sys.modules, "tensorflow", module)


# In the place of the backend


def all_outputs(arrays: Arrays, batch: Any) -> dict[str, Any]:
    """No BERT, but as there every variable changes it."""
    ids, length = batch["input_ids"], batch["input_ids"].shape[1]
    words = arrays[bert.WORD_EMBEDDINGS]
    inner = [name for name in arrays if "/dense/" in name or "/LayerNorm/" in name]
    inner += [name for name in arrays if "/attention/self/" in name]
    number = np.float32(sum(_weighted(arrays[name]) for name in sorted(inner)))
    output = words[ids] + arrays[bert.POSITION_EMBEDDINGS][:length] + number
    output += arrays[bert.SEGMENT_EMBEDDINGS][batch["segment_ids"]]
    found = {"sequence_output": output}
    if heads.OUTPUT_BIAS in arrays:
        found["masked_lm_logits"] = output @ words.T + arrays[heads.OUTPUT_BIAS]
    for name, weights, bias in (
        ("next_sentence_logits", heads.RELATIONSHIP_WEIGHTS, heads.RELATIONSHIP_BIAS),
        ("start_logits", heads.SPAN_WEIGHTS, heads.SPAN_BIAS),
        ("class_logits", heads.CLASS_WEIGHTS, heads.CLASS_BIAS),
        ("tag_logits", heads.TAG_WEIGHTS, heads.TAG_BIAS),
    ):
        if weights in arrays:
            of_texts = name in ("next_sentence_logits", "class_logits")
            rows = output[:, 0] if of_texts else output[:, 1:-1] if name == "tag_logits" else output
            found[name] = rows @ arrays[weights].T + arrays[bias]
    return found


def _weighted(array: Any) -> float:
    return float(array.ravel() @ np.linspace(0, 1, array.size))


def next_pieces(arrays: Arrays, batch: Any) -> dict[str, Any]:
    """The piece whose id is one above that of the left neighbour is the likeliest for a mask."""
    positions = batch["masked_lm_positions"]
    left = np.take_along_axis(batch["input_ids"], np.maximum(positions - 1, 0), axis=1)
    size = len(arrays[bert.WORD_EMBEDDINGS])
    weights = 0.5 ** np.abs(np.arange(size) - left[..., None] - 1.0)
    return {"probabilities": (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)}


def install_backend(patch: pytest.MonkeyPatch, module: str) -> FakeBackend:
    """Puts numpy in the place of TensorFlow and JAX in a module that predicts."""

    def compute(outputs: Any, arrays: Arrays, batch: Any) -> dict[str, Any]:
        fake = all_outputs if outputs is comparison.all_outputs else next_pieces
        return fake(arrays, batch)

    backend = fakes.install_backend(patch, module)
    backend.compute = compute
    return backend
