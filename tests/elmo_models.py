"""A small ELMo in a folder, as run_pretraining leaves it."""

from pathlib import Path
from typing import Any

from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.heads import BiLmHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tokenization.beside import copy_word_vocabulary
from bert_ko.tokenization.config import WordUnit
from bert_ko.tokenization.word_splitting import WordSplitter
from bert_ko.tokenization.word_vocabulary import (
    Coverage,
    load_word_vocabulary,
    make_word_vocabulary,
    write_word_vocabulary,
)
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint

SIZES: dict[str, Any] = {
    "hidden_size": 8, "cell_size": 6, "character_embedding_size": 4, "filters": ((1, 4), (2, 4)),
    "highway_layers": 1, "max_characters_per_word": 6,
}  # fmt: skip


def write_elmo(
    folder: Path, unit: WordUnit = "eojeol", *, has_words: bool = True, **changes: Any
) -> ElmoConfig:
    """The folder of a run with random weights, far from what training begins with."""
    counts = {"나무": 5, "크다": 4, "숲": 3}
    vocabulary = make_word_vocabulary(counts, WordSplitter(unit), 6, 1)
    write_word_vocabulary(str(folder / "made"), vocabulary, Coverage(), 1)
    words = load_word_vocabulary(str(folder / "made"))
    config = ElmoConfig(vocab_size=len(words.words), **{**SIZES, **changes})
    arrays = initial_parameters(model_specs(config, BiLmHead(1)), 0.5, 1)
    state = {"format": 1, "step": 3, "tokenizer_fingerprint": words.fingerprint}
    save_checkpoint(str(folder / "elmo"), 3, Checkpoint(arrays, {}, state), config, 0)
    if has_words:
        copy_word_vocabulary(words, str(folder / "elmo"))
    return config
