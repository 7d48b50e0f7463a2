"""What a conversion changes and refuses: new pieces, sizes, existing files."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import WORD_EMBEDDINGS, BertConfig
from bert_ko.modeling.heads import OUTPUT_BIAS, TRANSFORM
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.conversion.conversion import (
    Conversion,
    NewPiece,
    carried,
    grow,
    optimizer_slots,
    refuse_existing,
    resize,
    set_vocab_size,
    without_crf,
)
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, SentencePieceModel, Vocabulary
from bert_ko.training.initialization import Source
from tests.small_models import CONFIG, STEP, arrays_of, assert_same_bits, save_model, slots_of

PIECES = (*SPECIAL_TOKENS, "[unused0]", "[unused1]", "도서", "##관", "관", "마을", "gpu")
WORDPIECE = {
    "tokenizer_type": "wordpiece", "subword_prefix_unit": "morpheme", "normalization": "google",
}  # fmt: skip


def tokenizer_of(pieces: Any = PIECES, **settings: Any) -> Tokenizer:
    return Tokenizer(Vocabulary(pieces), TokenizerConfig(**settings), source="new")


def embeddings(rows: int) -> Arrays:
    """Row i is [i, 10 i], its bias i."""
    numbers = np.arange(rows, dtype=np.float32)
    return {WORD_EMBEDDINGS: np.stack([numbers, 10 * numbers], axis=1), OUTPUT_BIAS: numbers}


def conversion(rows: int = len(PIECES), **settings: Any) -> Conversion:
    arrays = embeddings(rows)
    config = BertConfig(vocab_size=rows, hidden_size=2, num_attention_heads=1)
    source = Source("there", "test", arrays)
    return Conversion(source, arrays, config, tokenizer_of(**settings))


def put(*changes: tuple[int, str], behind: tuple[str, ...] = ()) -> list[str]:
    pieces = list(PIECES)
    for place, piece in changes:
        pieces[place] = piece
    return [*pieces, *behind]


def rows_of(arrays: Arrays) -> list[float]:
    words, bias = arrays[WORD_EMBEDDINGS], arrays[OUTPUT_BIAS]
    np.testing.assert_array_equal(words[:, 1], 10 * words[:, 0])
    np.testing.assert_array_equal(words[:, 0], bias)
    return [float(row) for row in bias]


# New pieces


@pytest.mark.parametrize("settings", [{}, {"subword_prefix_unit": "morpheme"}, WORDPIECE])
def test_grow_unused_places_and_new_rows_are_the_mean_of_old_pieces(
    settings: dict[str, Any],
) -> None:
    pieces = put((5, "도서관"), behind=("##관관", "마을관", "뷁", "도서뷁"))
    new = tokenizer_of(pieces, **settings)
    found = grow(conversion(**settings), new)
    assert found.new_pieces == (
        NewPiece(5, [7, 8]),
        NewPiece(12, [8, 8]),
        NewPiece(13, [10, 8]),
        NewPiece(14, []),
        NewPiece(15, []),
    )
    mean = (sum(range(12)) - 5) / 11
    old = [float(i) for i in range(12)]
    assert rows_of(found.arrays) == pytest.approx([*old[:5], 7.5, *old[6:], 8, 9, mean, mean])
    assert found.config == dataclasses.replace(conversion().config, vocab_size=16)
    assert found.tokenizer is new


def test_grow_rows_of_other_pieces_keep_their_bits() -> None:
    before = conversion()
    rng = np.random.default_rng(1)
    before.arrays[WORD_EMBEDDINGS] = rng.standard_normal((12, 2), np.float32)
    kept = before.arrays[WORD_EMBEDDINGS].copy()
    found = grow(before, tokenizer_of(put((6, "도서관")))).arrays[WORD_EMBEDDINGS]
    same = [i for i in range(12) if i != 6]
    np.testing.assert_array_equal(found[same], kept[same])
    np.testing.assert_array_equal(before.arrays[WORD_EMBEDDINGS], kept)


def test_grow_pieces_take_rows_of_padding_before_the_model_grows() -> None:
    before = conversion(rows=16)
    found = grow(before, tokenizer_of(put(behind=("마을관",))))
    assert found.config == before.config
    # Padding changes where a new piece is, and nowhere else.
    assert rows_of(found.arrays) == [*map(float, range(12)), 9, 13, 14, 15]

    found = grow(before, tokenizer_of(put(behind=("뷁",))))  # nor is padding in the mean of all
    assert found.arrays[OUTPUT_BIAS][12] == np.float32(sum(range(12)) / 12)


def test_grow_special_token_may_be_added() -> None:
    new = tokenizer_of(put((5, "[이름]")), additional_special_tokens=("[이름]",))
    assert grow(conversion(), new).new_pieces == (NewPiece(5, []),)
    new = tokenizer_of(additional_special_tokens=("마을",))  # a piece that the model has
    found = grow(conversion(), new)
    assert_same_bits(found.arrays, conversion().arrays)
    assert (found.new_pieces, found.tokenizer) == ((), new)


def test_grow_parts_are_lower_case_where_the_tokenizer_lowers() -> None:
    pieces = put(behind=("GPU관",))
    assert grow(conversion(), tokenizer_of(pieces)).new_pieces[0].parts == [11, 8]
    cased = {"do_lower_case": False}
    found = grow(conversion(**cased), tokenizer_of(pieces, **cased))
    assert found.new_pieces[0].parts == []


def test_grow_sentencepiece_parts_are_those_of_the_model(sentencepiece_folder: str) -> None:
    from sentencepiece import sentencepiece_model_pb2

    old = load_tokenizer(sentencepiece_folder)
    assert old.model is not None
    proto = sentencepiece_model_pb2.ModelProto.FromString(old.model.serialized)
    proto.pieces.add(piece="▁마을도서관", score=-1.0)
    model = SentencePieceModel(proto.SerializeToString())
    new = Tokenizer(Vocabulary(model.pieces), old.config, model=model)
    size = len(old.vocab)
    config = BertConfig(vocab_size=size, hidden_size=2, num_attention_heads=1)
    arrays = embeddings(size)
    before = Conversion(Source("there", "test", arrays), arrays, config, old)
    found = grow(before, new)
    parts = old.encode("마을도서관").ids
    assert len(parts) > 1 and found.new_pieces == (NewPiece(size, parts),)
    assert found.arrays[OUTPUT_BIAS][size] == pytest.approx(np.mean(parts), rel=1e-6)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (PIECES[:-1],
         "--vocab_file: new has 11 pieces, the model's vocabulary 12; pieces can be added, but not "
         "removed."),
        (put((7, "도서관")),
         "--vocab_file: new, line 8: '도서관', but the model has '도서' there. Put new pieces in "
         "place of [unusedN] or behind the last one."),
        (put((5, "##관"), (8, "[unused0]")),
         "--vocab_file: new, line 9: '[unused0]', but the model has '##관' there. Put new pieces "
         "in place of [unusedN] or behind the last one."),
    ],
)  # fmt: skip
def test_grow_pieces_that_move_or_go_are_refused(pieces: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        grow(conversion(), tokenizer_of(pieces))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (WORDPIECE, {}, "tokenizer_type mecab, but the model wordpiece"),
        ({"subword_prefix_unit": "morpheme"}, {},
         "subword_prefix_unit eojeol, but the model morpheme"),
        ({"do_lower_case": False}, {}, "do_lower_case True, but the model False"),
        ({"additional_special_tokens": ("도서",)}, {"additional_special_tokens": ("마을",)},
         "additional_special_tokens ('마을',), but the model ('도서',)"),
    ],
)  # fmt: skip
def test_grow_other_settings_of_the_tokenizer_are_refused(
    old: dict[str, Any], new: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        grow(conversion(**old), tokenizer_of(put((5, "도서관")), **new))
    assert str(error.value) == (
        f"--vocab_file: new has {message}; put the model's tokenizer_config.json beside it."
    )


def test_grow_user_dictionary_that_is_missing_is_refused() -> None:
    before = conversion()
    config = TokenizerConfig(mecab_user_dictionary=("마을.dic",))
    before.tokenizer.config = config
    with pytest.raises(
        ValueError, match=r"mecab_user_dictionary \(\), but the model \('마을\.dic',"
    ):
        grow(before, tokenizer_of(put((5, "도서관"))))
    same = tokenizer_of(put((5, "도서관")))
    same.config = dataclasses.replace(config, mecab_user_dictionary=("/other/마을.dic",))
    assert len(grow(before, same).new_pieces) == 1


# Sizes


@pytest.mark.parametrize("rows", [12, 16, 64])
def test_set_vocab_size_pads_or_cuts_padding(rows: int) -> None:
    found = set_vocab_size(conversion(rows=16), rows)
    assert found.config.vocab_size == rows
    assert rows_of(found.arrays) == [*map(float, range(min(rows, 16))), *[0] * (rows - 16)]
    assert_same_bits(found.source.arrays, embeddings(16))
    back = set_vocab_size(set_vocab_size(conversion(rows=rows), 99), rows)
    assert_same_bits(back.arrays, embeddings(rows))


def test_resize_changes_slots_too_but_no_variable_whose_name_begins_alike() -> None:
    names = [f"{WORD_EMBEDDINGS}/adam_m", f"{OUTPUT_BIAS}/adam_v", f"{WORD_EMBEDDINGS}_2"]
    found = resize({name: np.ones(4, np.float32) for name in names}, CONFIG, 6)
    assert [len(found[name]) for name in names] == [6, 6, 4]
    found = resize({WORD_EMBEDDINGS: np.ones((4, 2), np.float32)}, CONFIG, 5)  # no masked-LM head
    assert list(found) == [WORD_EMBEDDINGS] and found[WORD_EMBEDDINGS].shape == (5, 2)


def test_set_vocab_size_below_the_pieces_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        set_vocab_size(conversion(), 11)
    assert str(error.value) == (
        "--vocab_size=11, but the vocabulary has 12 pieces, each of which needs a row."
    )


def test_without_crf_leaves_all_else(tmp_path: Path) -> None:
    arrays = arrays_of("crf")
    before = conversion()._replace(arrays=arrays)
    found = without_crf(before)
    assert sorted(set(arrays) - set(found.arrays)) == [
        "cls/tags/crf/end", "cls/tags/crf/start", "cls/tags/crf/transitions",
    ]  # fmt: skip
    assert_same_bits(found.arrays, arrays_of("tags"))
    assert found._replace(arrays={}) == before._replace(arrays={})
    assert before.arrays.keys() == arrays_of("crf").keys()


@pytest.mark.parametrize("kind", ["pretraining", "masked_lm", "spans", "encoder"])
def test_carried_are_the_variables_of_encoder_and_heads(kind: str) -> None:
    more = {"lm_head/kernel": np.zeros((2, 16), np.float32)}
    source = Source("there", "test", {**arrays_of(kind), **more})
    assert_same_bits(carried(source, CONFIG, "config.json"), arrays_of(kind))


@pytest.mark.parametrize(
    ("kind", "without", "message"),
    [
        ("masked_lm", OUTPUT_BIAS, f"has {TRANSFORM}/dense/kernel, but lacks {OUTPUT_BIAS}; half"),
        ("masked_lm", f"{TRANSFORM}/dense/bias", f"but lacks {TRANSFORM}/dense/bias; half"),
        ("classes", "bert/pooler/dense/bias", "has output_weights, but lacks bert/pooler/dense/bi"),
        ("pretraining", "cls/seq_relationship/output_bias", "lacks cls/seq_relationship/output_b"),
        ("crf", "cls/tags/crf/end", "has cls/tags/output_weights, but lacks cls/tags/crf/end; hal"),
    ],
)
def test_carried_half_a_head_is_refused(kind: str, without: str, message: str) -> None:
    arrays = {name: array for name, array in arrays_of(kind).items() if name != without}
    with pytest.raises(ValueError, match=re.escape(message)):
        carried(Source("there", "test", arrays), CONFIG, "config.json")


def test_carried_head_of_another_meaning_is_refused_with_the_reason() -> None:
    source = Source("there", "test", arrays_of("encoder"), left_out={OUTPUT_BIAS: "it is untied"})
    with pytest.raises(ValueError, match=r"^--from: there: it is untied; such a head is not con"):
        carried(source, CONFIG, "config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1},
         "--init_checkpoint: there has bert/encoder/layer_1/"),
        ({"num_hidden_layers": 3},
         "--init_checkpoint: there lacks bert/encoder/layer_2/attention/self/query/kernel, bert/"),
        ({"vocab_size": 200},
         "--init_checkpoint: bert/embeddings/word_embeddings has shape [161, 16] in there, but "
         "[200, 16] by config.json; likely vocab_size: the checkpoint has 161 pieces, the config "
         "200."),
        ({"hidden_size": 32}, "has shape [161, 16] in there, but [161, 32] by config.json"),
        ({"intermediate_size": 25}, "has shape [16, 24] in there, but [16, 25] by config.json"),
        ({"max_position_embeddings": 50},
         "likely max_position_embeddings: the checkpoint has 40, the config 50."),
        ({"type_vocab_size": 3}, "has shape [2, 16] in there, but [3, 16] by config.json"),
        ({}, "cls/squad/output_weights has shape [3, 16] in there, but [2, 16] by config.json"),
    ],
)  # fmt: skip
def test_carried_other_configuration_is_refused_with_the_numbers(
    changes: dict[str, Any], message: str
) -> None:
    spans = {
        "cls/squad/output_weights": np.zeros((3, 16), np.float32),
        "cls/squad/output_bias": np.zeros(2, np.float32),
    }
    source = Source("there", "test", {**arrays_of("pretraining"), **spans})
    with pytest.raises(ValueError, match=re.escape(message)):
        carried(source, dataclasses.replace(CONFIG, **changes), "config.json")


# Slots and existing files


def test_optimizer_slots_have_the_rows_of_what_is_written(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "run")
    source = Source(f"{folder}/checkpoint-{STEP:08d}", "test", {})
    slots = slots_of(arrays_of("pretraining"))
    assert_same_bits(optimizer_slots(source, CONFIG), slots)
    padded = dataclasses.replace(CONFIG, vocab_size=192)
    rows = {name: len(array) for name, array in optimizer_slots(source, padded).items()}
    changed = {f"{n}/adam_{s}" for n in (WORD_EMBEDDINGS, OUTPUT_BIAS) for s in "mv"}
    assert rows == {n: 192 if n in changed else len(array) for n, array in slots.items()}


def test_optimizer_slots_of_another_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        optimizer_slots(Source(str(tmp_path), "test", {}), CONFIG)
    assert str(error.value) == f"--with_optimizer: {tmp_path} has no optimizer.safetensors."


def test_refuse_existing_places_that_hold_something(tmp_path: Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    refuse_existing("tf1", prefix)
    refuse_existing("bert_ko", str(tmp_path))  # empty
    refuse_existing("huggingface", str(tmp_path / "new"))
    Path(f"{prefix}.index").touch()
    for form, path in (("tf1", prefix), ("bert_ko", tmp_path), ("huggingface", tmp_path)):
        with pytest.raises(ValueError) as error:
            refuse_existing(form, str(path))  # type: ignore[arg-type]
        assert str(error.value) == f"--to: {path} exists; choose another place, or remove it."
    refuse_existing("tf1", str(tmp_path / "other.ckpt"))
