"""What the stages of the pipeline do for each objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.data.bilm import build_word_bucket
from bert_ko.data.buckets import Bucket
from bert_ko.data.corpus import Chunk
from bert_ko.data.documents import EncodedDocuments, encode_documents, read_and_encode
from bert_ko.data.manifest import id_ranges
from bert_ko.data.masking import replacement_ids
from bert_ko.data.settings import PipelineFlags
from bert_ko.data.shards import Built, build_bucket
from bert_ko.tokenization.config import WordUnit
from bert_ko.tokenization.encoder import LineEncoder
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.word_splitting import WORD_END
from bert_ko.tokenization.word_vocabulary import WordVocabulary


class ShardMaker(Protocol):
    """Chunks to documents, and buckets of documents to shards."""

    @property
    def piece_dtype(self) -> npt.DTypeLike:
        """Of the pieces of the documents."""
        ...

    def about(self) -> dict[str, Any]:
        """What a manifest says of the vocabulary."""
        ...

    def encode(self, chunk: Chunk) -> EncodedDocuments:
        """Reads a chunk and splits its documents into pieces."""
        ...

    def build(self, bucket: Bucket, number: int, paths: Sequence[str]) -> Built:
        """Writes the records of a bucket; its number keys the random draws."""
        ...


class InstanceMaker:
    """Instances of pieces for a masked language model."""

    piece_dtype = np.uint32

    def __init__(self, flags: PipelineFlags, tokenizer: Tokenizer):
        self._flags, self._tokenizer = flags, tokenizer
        self._encoder = LineEncoder(tokenizer)

    def about(self) -> dict[str, Any]:
        """See ShardMaker."""
        config, vocab = self._tokenizer.config, self._tokenizer.vocab
        return {
            "tokenizer_fingerprint": self._tokenizer.fingerprint,
            "tokenizer": dataclasses.asdict(config),
            "vocab_size": len(vocab),
            # Dynamic masking needs these two, and then no vocabulary where it trains.
            "mask_id": vocab.mask_id,
            "replacement_ranges": id_ranges(
                replacement_ids(vocab, config.additional_special_tokens)
            ),
        }

    def encode(self, chunk: Chunk) -> EncodedDocuments:
        """See ShardMaker."""
        return encode_documents(chunk, self._flags, self._tokenizer, self._encoder)

    def build(self, bucket: Bucket, number: int, paths: Sequence[str]) -> Built:
        """See ShardMaker."""
        return build_bucket(bucket, number, paths, self._flags, self._tokenizer)


class WordMaker:
    """Runs of words for a bidirectional language model."""

    piece_dtype = np.uint8

    def __init__(self, flags: PipelineFlags, vocabulary: WordVocabulary):
        self._flags, self._vocabulary = flags, vocabulary
        self._splitter = vocabulary.splitter()
        self._ids = {word.encode(): number for word, number in vocabulary.ids.items()}

    @property
    def unit(self) -> WordUnit:
        """What a word is."""
        return self._vocabulary.unit

    def about(self) -> dict[str, Any]:
        """See ShardMaker."""
        return {
            "tokenizer_fingerprint": self._vocabulary.fingerprint,
            "tokenizer": self._vocabulary.settings,
            "vocab_size": len(self._vocabulary.words),
            "mask_id": None,
            "replacement_ranges": (),
        }

    def encode(self, chunk: Chunk) -> EncodedDocuments:
        """See ShardMaker."""
        found = read_and_encode(chunk, self._flags, self._splitter, self._splitter.encode)
        found.notes.counts["words"] = int(np.count_nonzero(found.pieces == WORD_END))
        return found

    def build(self, bucket: Bucket, number: int, paths: Sequence[str]) -> Built:
        """See ShardMaker."""
        return build_word_bucket(bucket, number, paths, self._flags.random_seed, self._ids)
