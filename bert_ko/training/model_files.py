"""What belongs to weights, and is found beside them: configuration, vocabulary and settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from bert_ko.characters import Characters
from bert_ko.flags import flag
from bert_ko.json_files import read_json
from bert_ko.messages import say, warn
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.encoder import config_from_hugging_face, encoder_of
from bert_ko.modeling.parameters import Arrays, Specs
from bert_ko.shipped import find_shipped
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.tokenization.word_vocabulary import WORDS_CONFIG_NAME, WORDS_NAME
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.bilm import OPTIONS_NAME, config_from_options, is_bilm
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    STATE_NAME,
    find_weights,
    read_checkpoint_config,
    read_model_config,
)
from bert_ko.training.initialization import (
    Source,
    initialize,
    read_source,
    refuse_missing,
    refuse_surplus,
)
from bert_ko.training.places import folders_beside
from bert_ko.training.positions import UntrainedPositions, fit_positions
from bert_ko.training.runs import refuse_other_model
from bert_ko.training.settings import DeviceFlags, TrainFlags

if TYPE_CHECKING:  # MeCab is loaded only for a run that names a vocabulary
    from bert_ko.tokenization.tokenizer import Tokenizer
    from bert_ko.tokenization.word_tokenizer import WordTokenizer
    from bert_ko.tokenization.word_vocabulary import WordVocabulary

_HUGGING_FACE_CONFIG = "config.json"


class ModelFiles(NamedTuple):
    """What is known of a model before its weights are read."""

    config: ModelConfig
    config_file: str  # where config was found, for messages
    found_tokenizer: Tokenizer | None  # None if the command was given none, and needs none
    words: WordVocabulary | None = None  # of a model of words, if one was found

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the model, for commands that need one."""
        assert self.found_tokenizer is not None
        return self.found_tokenizer

    @property
    def any_tokenizer(self) -> Tokenizer | WordTokenizer:
        """That of the model, for tasks on pieces and on words."""
        if not _is_of_words(self.config):
            return self.tokenizer
        from bert_ko.tokenization.word_tokenizer import WordTokenizer

        assert isinstance(self.config, ElmoConfig)
        if self.words is None:
            raise _no_words(f"the place of {self.config_file}")
        unit = cast(Characters, self.config.characters)
        return WordTokenizer(self.words, unit, self.config.places)


def open_model_files(config: TrainFlags) -> ModelFiles:
    """Opens the configuration and the vocabulary of a command's model, and compares them.

    Files that no flag names are looked for beside the weights; see ``weight_places``.

    Raises:
        FileNotFoundError: one of them was not found.
        ValueError: they contradict each other.
    """
    places = weight_places(config.folder(config.seeds[0]), config.init_checkpoint)
    model_config, config_file = _find_config(config.bert_config_file, places)
    if _is_of_words(model_config):
        if config.reads_words:
            _refuse_settings(config, model_config)
            words = _words_beside(config.vocab_file, places)
            return ModelFiles(model_config, config_file, None, words)
        if config.needs_tokenizer:
            raise refused_words(model_config, config_file)
        return ModelFiles(model_config, config_file, None)
    vocab_file = config.vocab_file
    if vocab_file is None and config.needs_tokenizer:
        vocab_file = _find_vocabulary(*places)
    tokenizer = None
    if vocab_file is not None:
        tokenizer = _load_tokenizer(vocab_file, config, model_config, config_file)
        beside = config.init_checkpoint if config.do_train else places[0]
        contradiction = _contradiction(tokenizer, beside) if beside is not None else ""
        if contradiction and not config.do_train:
            raise ValueError(f"{contradiction}; leave the flag out.")
        if contradiction:
            warn(f"{contradiction}; the embeddings may belong to other pieces")
    compare_length(config.max_seq_length, model_config, config_file)
    return ModelFiles(model_config, config_file, tokenizer)


def refused_words(config: ModelConfig, config_file: str) -> ValueError:
    """The error of a command that can't use a model of words."""
    return ValueError(
        f"{config_file}: a model of model_type {config.model_type} reads whole words, and this "
        "command needs a model of pieces."
    )


def _refuse_settings(settings: TokenizerSettings, config: ModelConfig) -> None:
    """Raises: ValueError: a flag says how text becomes pieces, of which there are none."""
    for name in settings.given_settings:
        raise ValueError(
            f"--{name} is for pieces; a model of model_type {config.model_type} reads whole words, "
            f"as its {WORDS_CONFIG_NAME} says; leave the flag out."
        )


def _words_beside(vocab_file: str | None, places: Sequence[str]) -> WordVocabulary:
    """The vocabulary of a model of words: the named one, or that beside its weights."""
    from bert_ko.tokenization.word_vocabulary import has_words, load_word_vocabulary

    folders = (folder for place in places for folder in folders_beside(place))
    found = vocab_file or next(filter(has_words, folders), None)
    if found is None:
        raise _no_words(" or ".join(places))
    return load_word_vocabulary(found)


def _no_words(places: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"--vocab_file: no {WORDS_NAME} in {places}, by which text becomes words; name the folder "
        "of words that the model was trained with."
    )


def weight_places(folder: str, init_checkpoint: str | None) -> list[str]:
    """Where a command's weights may be, the place they are read from first.

    Weights of the run's own folder come before those that it began with.
    """
    if init_checkpoint is None:
        return [folder]
    found = [folder, init_checkpoint]
    return found if find_weights(folder) else found[::-1]


def _load_tokenizer(
    vocab_file: str, settings: TokenizerSettings | None, config: ModelConfig, config_file: str
) -> Tokenizer:
    from bert_ko.tokenization.folder import load_tokenizer

    tokenizer = load_tokenizer(vocab_file, settings)
    size = len(tokenizer.vocab)
    compare_vocab_size(size, "the vocabulary", vocab_file, config.vocab_size, config_file)
    return tokenizer


def _contradiction(tokenizer: Tokenizer, path: str) -> str:
    """The message if a tokenizer's vocabulary differs from the one beside the weights, else ""."""
    from bert_ko.tokenization.folder import load_tokenizer
    from bert_ko.tokenization.published import RefusedTokenizerError

    beside = vocabulary_beside(path)
    if beside is None or beside == tokenizer.source:
        return ""
    # Its settings may be missing, as they are beside Google's models; pieces decide.
    try:
        other = load_tokenizer(beside)
    except RefusedTokenizerError:
        kind = tokenizer.config.tokenizer_type
        other = load_tokenizer(beside, TokenizerSettings(tokenizer_type=kind))
    if other.vocab.pieces == tokenizer.vocab.pieces:
        return ""
    return f"--vocab_file: {tokenizer.source} is not the vocabulary beside the weights, {beside}"


def compare_length(max_seq_length: int, config: ModelConfig, config_file: str) -> None:
    """Refuses sequences that are longer than the model's positions, by a ValueError."""
    if max_seq_length > config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={max_seq_length}, but the model has "
            f"{config.max_position_embeddings} positions (max_position_embeddings in "
            f"{config_file}); lower it."
        )


def _find_config(named: str | None, places: list[str]) -> tuple[ModelConfig, str]:
    if named is not None:
        named = find_shipped(named)
        return read_model_config(named), named
    found = next(filter(None, map(config_beside, places)), None)
    if found is None:
        raise FileNotFoundError(
            f"--bert_config_file: no {CONFIG_NAME} in {' or '.join(places)}; name it."
        )
    return found


def _find_vocabulary(*places: str) -> str:
    found = next(filter(None, map(vocabulary_beside, places)), None)
    if found is None:
        raise FileNotFoundError(f"--vocab_file: no vocabulary in {' or '.join(places)}; name it.")
    return found


def config_beside(path: str) -> tuple[ModelConfig, str] | None:
    """The configuration that belongs to weights and its file, if there is one; see ``read_source``.

    Raises:
        ValueError: it can't be read.
    """
    for folder in folders_beside(path):
        ours = read_checkpoint_config(folder)
        if ours is not None:
            return ours, os.path.join(folder, CONFIG_NAME)
        if is_bilm(folder):
            path = os.path.join(folder, OPTIONS_NAME)
            return config_from_options(read_json(path) or {}, path), path
        theirs = os.path.join(folder, _HUGGING_FACE_CONFIG)
        values = read_json(theirs)
        if values is not None:
            return config_from_hugging_face(values, theirs), theirs
    return None


def vocabulary_beside(path: str) -> str | None:
    """The folder of the vocabulary that belongs to weights, if any; see ``read_source``."""
    from bert_ko.tokenization.folder import has_vocabulary

    return next(filter(has_vocabulary, folders_beside(path)), None)


def remembered_flags(path: str) -> Mapping[str, Any]:
    """The flags that affected the training of weights; empty if unknown. See ``read_source``."""
    for folder in folders_beside(path):
        state = read_json(os.path.join(folder, STATE_NAME)) or {}
        for key in ("identity", "trained_with"):
            if isinstance(state.get(key), dict):
                return dict(state[key])
    return {}


@dataclass(frozen=True)
class ModelFlags(TokenizerSettings, DeviceFlags):
    """Flags of commands that use a trained model."""

    group = "Model"

    init_checkpoint: str = flag(
        help="The model: a folder of run_pretraining or run_squad, the prefix of a TF1 checkpoint "
        "(bert_model.ckpt), or a Hugging Face folder with safetensors."
    )
    bert_config_file: str | None = flag(
        None,
        other_name="config_file",
        help="bert_config.json of the model, or transformers' config.json. Default: as found "
        "beside the weights.",
    )
    vocab_file: str | None = flag(
        None,
        help="The vocabulary: vocab.txt, a SentencePiece .model, the folder of either, or "
        "ko-mecab-32k, which comes with bert_ko. Default: as found beside the weights.",
    )


class TrainedModel(NamedTuple):
    """A model that is ready to be used."""

    source: Source  # its weights
    files: ModelFiles
    devices: DeviceConfig  # that are to compute

    @property
    def config(self) -> ModelConfig:
        """Of the model."""
        return self.files.config

    @property
    def is_of_words(self) -> bool:
        """Whether it reads whole words, and has no tokenizer."""
        return _is_of_words(self.config)

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the model."""
        return self.files.tokenizer

    @property
    def any_tokenizer(self) -> Tokenizer | WordTokenizer:
        """Of the model; see ModelFiles."""
        return self.files.any_tokenizer

    @property
    def remembered(self) -> Mapping[str, Any]:
        """See ``remembered_flags``."""
        return remembered_flags(self.source.path)

    def reaching(
        self, max_seq_length: int, untrained_positions: UntrainedPositions = "extend"
    ) -> TrainedModel:
        """The model for longer sequences than its training had; see ``fit_positions``."""
        source, line = fit_positions(
            self.source, self.config, {}, max_seq_length, untrained_positions
        )
        if line:
            say(line)
        return self._replace(source=source)

    def arrays(self, specs: Specs) -> Arrays:
        """The variables that a task needs.

        Raises:
            ValueError: some are missing, or have another shape.
        """
        source, config_file = self.source, self.files.config_file
        refuse_missing(specs, source, config_file)
        refuse_surplus(encoder_of(self.config).specs(self.config), source, config_file)
        lacking = [n for n in specs if n not in source.arrays and n not in source.left_out]
        if lacking:
            raise ValueError(
                f"--init_checkpoint: {source.path} lacks {', '.join(lacking[:3])}; it was not "
                "trained for this."
            )
        return initialize(specs, source.arrays, source, config_file).arrays


def open_model(flags: ModelFlags, *, allows_words: bool = False) -> TrainedModel:
    """Reads a model.

    Args:
        flags: that name it.
        allows_words: whether it may be one of words, which has no tokenizer.

    Raises:
        FileNotFoundError: no weights, no configuration or no vocabulary was found.
        ValueError: they contradict each other, or are damaged.
    """
    source = read_source(flags.init_checkpoint)
    if allows_words and source.config is not None and _is_of_words(source.config):
        found = _open_word_files(source, flags)
    else:
        found = open_files_of(source, flags.bert_config_file, flags.vocab_file, flags)
    return TrainedModel(source, found, flags.device_config)


def _is_of_words(config: ModelConfig) -> bool:
    return encoder_of(config).objective == "bilm"


def _open_word_files(source: Source, flags: ModelFlags) -> ModelFiles:
    """What belongs to a model of words; without a vocabulary if there is none."""
    config = source.config
    assert config is not None
    if flags.bert_config_file is not None:
        file = find_shipped(flags.bert_config_file)
        refuse_other_model(source.path, config.to_dict(), read_model_config(file), file)
    for name in flags.given_settings:
        raise ValueError(
            f"--{name} has no effect with a model of model_type {config.model_type}; leave it out."
        )
    words = find_words(source, flags.vocab_file)
    return ModelFiles(config, f"the configuration of {source.path}", None, words)


def find_words(source: Source, vocab_file: str | None) -> WordVocabulary | None:
    """The vocabulary of a model of words.

    Args:
        source: its weights.
        vocab_file: None for the one found beside them, if there is one.

    Raises:
        FileNotFoundError: the flag names none.
        ValueError: it is not the one that the softmax was trained with.
    """
    from bert_ko.tokenization.word_vocabulary import has_words, load_word_vocabulary

    place = vocab_file or next(filter(has_words, folders_beside(source.folder)), None)
    if place is None:
        return None
    words = load_word_vocabulary(place)
    if source.fingerprint not in (None, words.fingerprint):
        raise ValueError(
            f"--vocab_file: {words.source} is not the vocabulary that {source.path} was trained "
            "with; leave the flag out."
        )
    return words


def open_files_of(
    source: Source,
    bert_config_file: str | None,
    vocab_file: str | None,
    settings: TokenizerSettings | None = None,
) -> ModelFiles:
    """Opens the configuration and the vocabulary that weights were trained with.

    Args:
        source: the weights.
        bert_config_file: None for the one found beside them.
        vocab_file: None for the one found beside them.
        settings: of the tokenizer.

    Raises:
        FileNotFoundError: one of them was not found.
        ValueError: they contradict each other.
    """
    if source.config is not None and _is_of_words(source.config):
        raise refused_words(source.config, source.path)
    vocab_file = vocab_file or _find_vocabulary(source.folder)
    if bert_config_file is not None:
        config_file = find_shipped(bert_config_file)
        config = read_model_config(config_file)
        if source.config is not None:
            refuse_other_model(source.path, source.config.to_dict(), config, config_file)
    elif source.config is not None:
        config, config_file = source.config, f"the configuration of {source.path}"
    else:
        raise FileNotFoundError(
            f"--bert_config_file: no {CONFIG_NAME} beside {source.path}; name it."
        )
    tokenizer = _load_tokenizer(vocab_file, settings, config, config_file)
    if source.fingerprint not in (None, tokenizer.fingerprint):
        raise ValueError(
            f"--vocab_file: {vocab_file} is not the vocabulary that {source.path} was trained "
            "with; its pieces would mean other words."
        )
    contradiction = _contradiction(tokenizer, source.folder)
    if contradiction:
        raise ValueError(f"{contradiction}; leave the flag out.")
    return ModelFiles(config, config_file, tokenizer)


def compare_vocab_size(
    size: int, owner: str, where: str, model_size: int, config_file: str
) -> None:
    """Refuses a vocabulary that is larger than the model's.

    Args:
        size: of the vocabulary.
        owner: of the vocabulary, for the message: "the shards".
        where: the file that says so.
        model_size: vocab_size of the model's configuration.
        config_file: where that was read.

    Raises:
        ValueError: with both numbers and what to change.
    """
    if size > model_size:
        raise ValueError(
            f"vocab_size is {model_size:,} in {config_file}, but {size:,} in {owner} "
            f"({where}); set vocab_size in the config to that."
        )
