"""A trained model as it is found: weights, configuration and tokenizer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

from bert_ko.flags import flag
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays, Specs
from bert_ko.tokenization.folder import MODEL_NAME, VOCAB_NAME, load_tokenizer
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.initialization import Source, initialize, read_source
from bert_ko.training.runs import read_model_config
from bert_ko.training.settings import DeviceFlags
from bert_ko.training.vocabulary_files import compare_vocab_size


@dataclass(frozen=True)
class ModelFlags(TokenizerSettings, DeviceFlags):
    """Flags of commands that use a trained model."""

    init_checkpoint: str = flag(
        help="The model: a folder of run_pretraining or run_squad, the prefix of a TF1 checkpoint "
        "(bert_model.ckpt), or a Hugging Face folder with safetensors."
    )
    bert_config_file: str | None = flag(
        None, help="bert_config.json of the model. Default: as it stands beside the weights."
    )
    vocab_file: str | None = flag(
        None,
        help="The vocabulary: vocab.txt, a SentencePiece .model, or the folder of either. Default: "
        "as it stands beside the weights.",
    )


class TrainedModel(NamedTuple):
    """Ready to be used.

    Attributes:
        source: what was read.
        config: of the model.
        config_file: where that was found, for messages.
        tokenizer: of the model.
    """

    source: Source
    config: BertConfig
    config_file: str
    tokenizer: Tokenizer

    def arrays(self, specs: Specs) -> Arrays:
        """The variables that a task needs.

        Raises:
            ValueError: some are missing, or have another shape.
        """
        missing = [name for name in specs if name not in self.source.arrays]
        if missing:
            raise ValueError(
                f"--init_checkpoint: {self.source.path} lacks {', '.join(missing[:3])}; it was not "
                "trained for this."
            )
        return initialize(specs, self.source.arrays, self.source, self.config_file).arrays


class Parts(NamedTuple):
    """What belongs to weights, and where it was found."""

    config: BertConfig
    config_file: str
    tokenizer: Tokenizer
    vocab_file: str


def open_model(flags: ModelFlags) -> TrainedModel:
    """Reads a model.

    Args:
        flags: where it is.

    Raises:
        FileNotFoundError: no weights, no configuration or no vocabulary there.
        ValueError: they do not fit together, or are damaged.
    """
    source = read_source(flags.init_checkpoint)
    vocab_file = flags.vocab_file or _vocabulary_beside(source)
    parts = _open_parts(source, flags.bert_config_file, vocab_file, flags)
    return TrainedModel(source, parts.config, parts.config_file, parts.tokenizer)


def open_parts(
    source: Source,
    bert_config_file: str | None,
    vocab_file: str | None,
    settings: TokenizerSettings,
) -> Parts:
    """Finds the configuration and the vocabulary that weights were trained with.

    Args:
        source: the weights.
        bert_config_file: where no configuration stands beside them.
        vocab_file: where no vocabulary stands beside them.
        settings: of the tokenizer.

    Raises:
        FileNotFoundError: one of them is nowhere.
        ValueError: they do not fit together.
    """
    beside = _vocabulary_beside(source, vocab_file)
    return _open_parts(source, bert_config_file, beside, settings)


def _open_parts(
    source: Source, bert_config_file: str | None, vocab_file: str, settings: TokenizerSettings
) -> Parts:
    config, config_file = _config(bert_config_file, source)
    tokenizer = load_tokenizer(vocab_file, settings)
    size = len(tokenizer.vocab)
    compare_vocab_size(size, "the vocabulary", vocab_file, config.vocab_size, config_file)
    if source.fingerprint not in (None, tokenizer.fingerprint):
        raise ValueError(
            f"--vocab_file: {vocab_file} is not the vocabulary that {source.path} was trained "
            "with; its pieces would mean other words."
        )
    return Parts(config, config_file, tokenizer, vocab_file)


def _config(bert_config_file: str | None, source: Source) -> tuple[BertConfig, str]:
    if bert_config_file is not None:
        return read_model_config(bert_config_file), bert_config_file
    if source.config is None:
        raise FileNotFoundError(
            f"--bert_config_file: no bert_config.json beside {source.path}; name it."
        )
    return source.config, f"the configuration of {source.path}"


def _vocabulary_beside(source: Source, otherwise: str | None = None) -> str:
    names = (MODEL_NAME, VOCAB_NAME)
    if any(os.path.isfile(os.path.join(source.folder, name)) for name in names):
        return source.folder
    if otherwise is None:
        raise FileNotFoundError(f"--vocab_file: no vocabulary in {source.folder}; name it.")
    return otherwise
