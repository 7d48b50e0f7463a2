"""Hugging Face folders: the same ids and offsets as ours where bert_ko is not installed."""

import json
import os
import subprocess
import sys
import unicodedata
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer

from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig
from bert_ko.tokenization.export.piece_encoding import Frame, PieceEncoding, Truncation, cut
from bert_ko.tokenization.export.special_tokens import SpecialTokenizer, in_words
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.hugging_face import code_files, write_hugging_face_tokenizer
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.tokenizer import Encoding, Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

SAMPLE_QUESTIONS = Path(__file__).parents[2] / "samples" / "korquad.json"
TEXTS = [
    "마을 도서관에서 책을 읽었습니다.",
    "나무의  나이는   나이테로 안다.",
    "빈칸\u00a0들\u3000과\t탭, \u200b없는 글자\ufeff",
    unicodedata.normalize("NFD", "도서관에서 책을 샀다"),
    "😀 가족👩‍👩‍👧이 ❤️를 🇰🇷",
    "[CLS] 글 속의 [MASK]와 [SEP]",
    "  앞뒤  ",
    "",
    "   ",
    "널\x00문자와 짝 없는 \ud800 대리",
    "GPU 2개, Straße, İstanbul, Café",
    "大韓民國 ひらがな ㅋㅋㅋ ①②③",
    "가" * 300,
    "[NAME]은 [NAME]이다",
]
# Another environment's, to try another release of transformers: it needs no bert_ko.
READER_PYTHON = os.environ.get("BERT_KO_READER_PYTHON", sys.executable)
# What a reader of the folder does, in a process that cannot import bert_ko.
READER = """
import copy, json, os, pickle, sys
sys.modules["bert_ko"] = None
from transformers import AutoTokenizer

def rows(tokenizer, texts):
    # BertTokenizer of transformers 4.23 does not know the last one.
    options = {} if "Fast" in type(tokenizer).__name__ else {"split_special_tokens": True}
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, **options)
    return [found["input_ids"], found["offset_mapping"]]

request = json.load(open(sys.argv[1]))
answer = {}
for name, folder in request["folders"].items():
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    again = f"{folder}-again"
    tokenizer.save_pretrained(again)
    reloaded = AutoTokenizer.from_pretrained(again, trust_remote_code=True)
    answer[name] = result = {"class": type(tokenizer).__name__, "rows": [], "files": []}
    result["files"] = sorted(os.listdir(again))
    for each in (tokenizer, reloaded):
        result["rows"].append(rows(each, request["texts"][name]))
        result["masked"] = each("책을 [MASK]었다")["input_ids"]
    pair = tokenizer("책을 샀다", "나무의  나이", return_offsets_mapping=True, return_tensors="np")
    result["pair"] = {key: value.tolist() for key, value in pair.items()}
    result["words"] = tokenizer(["책을", "샀다"], is_split_into_words=True).word_ids()
    result["copies"] = [
        copied("책을 샀다")["input_ids"] == tokenizer("책을 샀다")["input_ids"]
        for copied in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer)))
    ]
    tokenizer.add_tokens(["새토큰"])
    result["added"] = tokenizer.convert_ids_to_tokens(tokenizer("책의 새토큰이다")["input_ids"])
    result["size"] = len(tokenizer)
    result["decoded"] = tokenizer.decode(tokenizer("마을 도서관에서 책을 [MASK]었다.")["input_ids"])
json.dump(answer, open(sys.argv[2], "w"))
"""


def run_reader(script: str, request: object, folder: Path) -> Any:
    """Runs a script away from the checkout, without a network; returns its answer."""
    question, answer = folder / "question.json", folder / "answer.json"
    question.write_text(json.dumps(request), encoding="utf-8")
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "home"),
        "HF_MODULES_CACHE": str(folder / "modules"),
        "PYTHONPATH": "",
    }
    subprocess.run(
        [READER_PYTHON, "-c", script, str(question), str(answer)],
        check=True,
        cwd=folder,
        env=environment,
    )
    return json.loads(answer.read_text(encoding="utf-8"))


def own_rows(tokenizer: Tokenizer, texts: list[str]) -> list[Any]:
    encodings = [tokenizer.encode(text) for text in texts]
    spans = [[[start, end] for start, end in zip(e.starts, e.ends, strict=True)] for e in encodings]
    return [[encoding.ids for encoding in encodings], spans]


@pytest.fixture(scope="module")
def exported(
    vocab_folder: str,
    sentencepiece_folder: str,
    wordpiece_folder: str,
    user_dictionary: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Tokenizer], dict[str, str], Any]:
    """Tokenizers of each type, their Hugging Face folders, and what a reader finds in these."""
    root = tmp_path_factory.mktemp("hugging_face")
    user_folder = str(root / "source")
    # Morpheme units, kept case, a kept token and a user dictionary.
    pieces = [*SPECIAL_TOKENS, "[NAME]", "책", "을", "었", "다", "솔내글방", "GPU", "도서관", "가"]
    config = TokenizerConfig("mecab", "morpheme", False, "nfc", ("[NAME]",), dictionary_version())
    write_folder(user_folder, [*pieces, "##가"], config, None, (user_dictionary,))
    sources = {
        "mecab": vocab_folder,
        "mecab-user": user_folder,
        "sentencepiece": sentencepiece_folder,
        "wordpiece": wordpiece_folder,
    }
    tokenizers = {name: load_tokenizer(source) for name, source in sources.items()}
    folders = {name: str(root / name) for name in sources}
    for name in sources:
        write_hugging_face_tokenizer(folders[name], tokenizers[name])
    # The wordpiece one is transformers' own, which knows no lone surrogates.
    texts = {name: TEXTS if name != "wordpiece" else TEXTS[:3] for name in sources}
    answer = run_reader(READER, {"folders": folders, "texts": texts}, root)
    return tokenizers, folders, answer


Exported = tuple[dict[str, Tokenizer], dict[str, str], Any]


@pytest.mark.parametrize("name", ["mecab", "mecab-user", "sentencepiece", "wordpiece"])
def test_reader_ids_and_offsets_equal_ours_also_when_saved_again(
    name: str, exported: Exported
) -> None:
    tokenizers, folders, answer = exported
    expected = own_rows(tokenizers[name], TEXTS[:3] if name == "wordpiece" else TEXTS)
    assert answer[name]["rows"] == [expected, expected]
    theirs = ("BertTokenizer", "BertTokenizerFast")
    assert answer[name]["class"] in (theirs if name == "wordpiece" else ("BertKoTokenizer",))
    assert load_tokenizer(folders[name]).fingerprint == tokenizers[name].fingerprint
    if name != "wordpiece":  # transformers 5 saves its own tokenizers without a vocab.txt
        again = load_tokenizer(f"{folders[name]}-again")
        assert again.fingerprint == tokenizers[name].fingerprint


def test_reader_mask_in_text_is_the_mask_and_text_after_it_continues(exported: Exported) -> None:
    tokenizers, _, answer = exported
    for name in ("mecab", "mecab-user"):
        expected = tokenizers[name].keeping("[MASK]").encode("책을 [MASK]었다").ids
        vocab = tokenizers[name].vocab
        assert answer[name]["masked"] == [vocab.cls_id, *expected, vocab.sep_id]
        assert vocab.mask_id in expected
    assert answer["mecab"]["decoded"] == "[CLS] 마을 도서관에서 책을 [MASK]었다. [SEP]"
    assert answer["sentencepiece"]["masked"].count(tokenizers["sentencepiece"].vocab.mask_id) == 1


def test_reader_pairs_words_copies_and_added_tokens(exported: Exported) -> None:
    tokenizers, _, answer = exported
    for name in ("mecab", "mecab-user", "sentencepiece"):
        vocab, result = tokenizers[name].vocab, answer[name]
        texts = ("책을 샀다", "나무의  나이")
        first, second = (tokenizers[name].encode(text) for text in texts)
        assert result["pair"]["input_ids"] == [
            [vocab.cls_id, *first.ids, vocab.sep_id, *second.ids, vocab.sep_id]
        ]
        assert result["pair"]["token_type_ids"] == [
            [0] * (len(first) + 2) + [1] * (len(second) + 1)
        ]
        offsets = [list(zip(e.starts, e.ends, strict=True)) for e in (first, second)]
        spans = [(0, 0), *offsets[0], (0, 0), *offsets[1], (0, 0)]
        assert list(map(tuple, result["pair"]["offset_mapping"][0])) == spans
        assert result["words"][0] is result["words"][-1] is None
        assert sorted(set(result["words"][1:-1])) == [0, 1]
        assert result["copies"] == [True, True]
        assert "새토큰" in result["added"]
        assert result["size"] == len(vocab) + 1


def test_saved_folder_has_code_vocabulary_and_dictionaries(exported: Exported) -> None:
    _, _, answer = exported
    files = set(answer["mecab-user"]["files"])
    assert {"tokenization_bert_ko.py", "vocab.txt", "user.dic"} <= files
    assert {"bert_ko_tokenizer.py", "spm.model"} <= set(answer["sentencepiece"]["files"])


def test_write_names_every_file(tokenizer: Tokenizer, vocab_folder: str, tmp_path: Path) -> None:
    names = write_hugging_face_tokenizer(str(tmp_path), tokenizer, max_length=128)
    assert sorted(names) == sorted(os.listdir(tmp_path))
    values = json.loads((tmp_path / CONFIG_NAME).read_text(encoding="utf-8"))
    assert values["model_max_length"] == 128
    assert values["auto_map"]["AutoTokenizer"] == ["tokenization_bert_ko.BertKoTokenizer", None]


def test_code_files_need_no_package_and_are_all_named_by_the_adapter() -> None:
    found = code_files()
    for name, text in found.items():
        assert "import bert_ko" not in text, name
        assert "from bert_ko" not in text, name
        compile(text, name, "exec")
    adapter = found["tokenization_bert_ko.py"]
    modules = {name.removesuffix(".py") for name in found} - {"tokenization_bert_ko"}
    assert all(f"from .{module} import" in adapter for module in modules)
    assert {"bert_ko_tokenizer", "bert_ko_wordpiece", "bert_ko_normalization"} <= modules


def make_encoding(length: int, first: int = 0) -> Encoding:
    numbers = list(range(first, first + length))
    places = list(range(length))
    return Encoding(
        [f"p{i}" for i in numbers], numbers, places, [i + 1 for i in places], places, places
    )


def make_frame(vocab: Vocabulary) -> Frame:
    return Frame(*((token, vocab[token]) for token in ("[CLS]", "[SEP]", "[PAD]")))


def ids_of(windows: tuple[Encoding, ...]) -> list[list[int]]:
    return [window.ids for window in windows]


def test_cut_stride_gives_windows_that_overlap() -> None:
    texts = [make_encoding(5)]
    truncation = Truncation("longest_first", room=3, stride=2)
    assert [ids_of(w) for w in cut(texts, truncation)] == [[[0, 1, 2]], [[1, 2, 3]], [[2, 3, 4]]]
    left = Truncation("only_first", room=3, stride=1, side="left")
    assert [ids_of(w) for w in cut(texts, left)] == [[[2, 3, 4]], [[0, 1, 2]]]


def test_cut_longest_first_takes_from_the_longer_one_by_one() -> None:
    for a, b, room in product(range(6), range(6), range(1, 9)):
        texts = [make_encoding(a), make_encoding(b)]
        (windows,) = cut(texts, Truncation("longest_first", room))
        while a + b > room:  # as in Google's BERT
            a, b = (a - 1, b) if a > b else (a, b - 1)
        assert [len(ids) for ids in ids_of(windows)] == [a, b]


@pytest.mark.parametrize(
    ("sizes", "truncation", "message"),
    [
        ((6, 4), Truncation("only_second", 2), "raise max_length"),
        ((6, 4), Truncation("only_first", 6, stride=2), "stride=2 must be below the 2 pieces"),
        ((6,), Truncation("only_second", 3), "needs a pair"),
    ],
)
def test_cut_no_room_says_what_to_change(
    sizes: tuple[int, ...], truncation: Truncation, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cut(list(map(make_encoding, sizes)), truncation)


@pytest.fixture(scope="module")
def reference() -> tuple[Tokenizer, BertWordPieceTokenizer]:
    words = ["책", "##을", "도서", "##관", "나", "##무", "값", ".", "3"]
    pieces = [*SPECIAL_TOKENS, *words]
    config = TokenizerConfig("wordpiece", "morpheme", False, "google")
    theirs = BertWordPieceTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, strip_accents=False, lowercase=False
    )
    return Tokenizer(Vocabulary(pieces), config), theirs


QUESTION, CONTEXT = "나무 값?", "도서관 책을 도서관 나무 3.3 책을 도서관."


@pytest.mark.parametrize("stride", [0, 1, 3])
@pytest.mark.parametrize("side", ["right", "left"])
def test_piece_encoding_equals_that_of_the_tokenizers_library(
    stride: int, side: str, reference: tuple[Tokenizer, BertWordPieceTokenizer]
) -> None:
    ours, theirs = reference
    theirs._tokenizer.enable_truncation(12, stride=stride, strategy="only_second", direction=side)
    theirs.enable_padding(length=14, direction=side)
    expected = theirs.encode(QUESTION, CONTEXT)
    theirs.no_truncation()
    theirs.no_padding()
    frame = make_frame(ours.vocab)
    texts = [ours.encode(QUESTION), ours.encode(CONTEXT)]
    truncation = Truncation("only_second", 12 - 3, stride, side)
    found = [PieceEncoding(windows, frame, True) for windows in cut(texts, truncation)]
    assert len(found) == 1 + len(expected.overflowing) > 2
    for row, other in zip(found, [expected, *expected.overflowing], strict=True):
        row.pad_to(14, side)
        assert_same(row, other)


def assert_same(row: PieceEncoding, other: Any) -> None:
    for name in (
        "ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask",
        "sequence_ids", "word_ids", "n_sequences",
    ):  # fmt: skip
        assert getattr(row, name) == getattr(other, name), name
    assert len(row) == len(other.ids)
    for i in range(len(row)):
        assert row.token_to_chars(i) == other.token_to_chars(i)
        assert row.token_to_word(i) == other.token_to_word(i)
        assert row.token_to_sequence(i) == other.token_to_sequence(i)
    for place, text in product(range(len(CONTEXT)), range(2)):
        assert row.char_to_token(place, text) == other.char_to_token(place, text)
        assert row.char_to_word(place, text) == other.char_to_word(place, text)
    for word, text in product(range(12), range(2)):
        assert row.word_to_tokens(word, text) == other.word_to_tokens(word, text)
        if row.word_to_tokens(word, text):
            assert row.word_to_chars(word, text) == other.word_to_chars(word, text)


def test_windows_of_a_pair_are_those_of_run_squad(tokenizer: Tokenizer) -> None:
    dataset = read_dataset(str(SAMPLE_QUESTIONS))
    length, step = 96, 16
    features = build_features(dataset, tokenizer, WindowConfig(length, step, length // 2))
    vocab = tokenizer.vocab
    special_ids = (vocab.pad_id, vocab.cls_id, vocab.sep_id)
    windows = np.arange(len(features.window_counts), dtype=np.int32)
    expected = features.gather(windows, length, special_ids)
    frame = make_frame(vocab)
    rows = []
    for paragraph in dataset.paragraphs:
        for question in paragraph.questions:
            texts = [tokenizer.encode(question.question), tokenizer.encode(paragraph.context)]
            room = length - 3
            stride = room - len(texts[0]) - step  # what they share, not how far they are apart
            found = cut(texts, Truncation("only_second", room, stride))
            rows += [PieceEncoding(window, frame, True) for window in found]
    for row in rows:
        row.pad_to(length, "right")
    assert len(rows) > 2 * len(features.question_contexts)
    assert [row.ids for row in rows] == expected["input_ids"].tolist()
    assert [row.type_ids for row in rows] == expected["segment_ids"].tolist()
    assert [row.attention_mask for row in rows] == expected["input_mask"].tolist()


def test_special_tokenizer_keeps_tokens_added_behind_the_vocabulary(tokenizer: Tokenizer) -> None:
    added = {"[MASK]": tokenizer.vocab.mask_id, "<새것>": len(tokenizer.vocab)}
    special = SpecialTokenizer(tokenizer, added)
    encoding = special.encode("책을 <새것>에서 [MASK]다")
    assert encoding.pieces[2] == "<새것>"
    assert encoding.ids[2] == len(tokenizer.vocab)
    assert (encoding.starts[2], encoding.ends[2]) == (3, 7)
    assert encoding.pieces[3].startswith("##")
    with pytest.raises(ValueError, match="its place is"):
        SpecialTokenizer(tokenizer, {"<새것>": len(tokenizer.vocab) + 1})


def test_special_tokenizer_sentencepiece_offsets_are_of_the_whole_text(
    sentencepiece_folder: str,
) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder)
    text = "책을 [MASK] 도서관"
    encoding = SpecialTokenizer(tokenizer, {"[MASK]": tokenizer.vocab.mask_id}).encode(text)
    place = encoding.ids.index(tokenizer.vocab.mask_id)
    spans = list(zip(encoding.starts, encoding.ends, strict=True))
    assert spans[place] == (3, 9)
    assert "".join(text[start:end] for start, end in spans[place + 1 :]) == "도서관"
    assert encoding.morpheme_ids == sorted(encoding.morpheme_ids)


def test_in_words_ids_are_those_of_the_line(tokenizer: Tokenizer) -> None:
    words = ["도서관에서", "", "책을", "샀다"]
    line = tokenizer.encode(" ".join(words))
    encoding = in_words(line, words)
    assert encoding.ids == line.ids
    assert sorted(set(encoding.morpheme_ids)) == [0, 2, 3]
    covered = [""] * len(words)
    for word, start, end in zip(encoding.morpheme_ids, encoding.starts, encoding.ends, strict=True):
        covered[word] += words[word][start:end]
    assert covered == words


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["vocab_folder", "sentencepiece_folder"])
def test_reader_real_lines_have_our_ids_and_offsets(
    fixture: str, real_lines: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tokenizer, lines = load_tokenizer(request.getfixturevalue(fixture)), real_lines[::2]
    folder = str(tmp_path / "model")
    write_hugging_face_tokenizer(folder, tokenizer)
    question = {"folders": {"lines": folder}, "texts": {"lines": lines}}
    expected = own_rows(tokenizer, lines)
    assert run_reader(READER, question, tmp_path)["lines"]["rows"] == [expected, expected]


# Pipelines with random weights, and the same models on the ids that bert_ko makes.
PIPELINE_READER = """
import json, sys
sys.modules["bert_ko"] = None
import numpy, torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForQuestionAnswering
from transformers import pipeline

request = json.load(open(sys.argv[1]))
tokenizer = AutoTokenizer.from_pretrained(request["folder"], trust_remote_code=True)
torch.manual_seed(1)
config = BertConfig(
    vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=64, initializer_range=0.5,
)
answer = {"filled": [], "likely": [], "answers": [], "spans": []}
model = BertForMaskedLM(config).eval()
fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
for text, ids in request["masked"]:
    answer["filled"].append([found["token"] for found in fill(text)])
    logits = model(torch.tensor([ids])).logits[0, ids.index(tokenizer.mask_token_id)]
    answer["likely"].append(logits.topk(5).indices.tolist())
model = BertForQuestionAnswering(config).eval()
try:
    ask = pipeline("question-answering", model=model, tokenizer=tokenizer)
except KeyError:  # transformers 5 has none
    ask = None
for question, context, ids, types, offsets in request["questions"] if ask else ():
    found = ask(question=question, context=context, align_to_words=False, max_answer_len=15)
    answer["answers"].append([found["start"], found["end"]])
    output = model(torch.tensor([ids]), token_type_ids=torch.tensor([types]))
    pairs = output.start_logits[0][:, None] + output.end_logits[0]
    first = types.index(1)
    allowed = torch.zeros_like(pairs)
    allowed[first:-1, first:-1] = 1
    pairs[torch.tril(torch.triu(allowed), 14) == 0] = -torch.inf
    start, end = divmod(int(pairs.argmax()), len(ids))
    answer["spans"].append([offsets[start][0], offsets[end][1]])
json.dump(answer, open(sys.argv[2], "w"))
"""


@pytest.mark.slow
def test_reader_pipelines_answer_as_the_model_does_on_our_ids(
    tokenizer: Tokenizer, vocab_folder: str, sample_lines: list[str], tmp_path: Path
) -> None:
    vocab, keeping = tokenizer.vocab, tokenizer.keeping("[MASK]")
    masked = []
    for line in sample_lines[:20]:
        words = line.split(" ")
        words[len(words) // 2] = "[MASK]" + words[len(words) // 2][-1:]
        text = " ".join(words)
        masked.append((text, [vocab.cls_id, *keeping.encode(text).ids, vocab.sep_id]))
    questions = []
    for question, context in pairwise(sample_lines[:20]):
        windows = cut([tokenizer.encode(question), tokenizer.encode(context)], Truncation())[0]
        row = PieceEncoding(windows, make_frame(vocab), True)
        questions.append((question, context, row.ids, row.type_ids, row.offsets))
    folder = str(tmp_path / "model")
    write_hugging_face_tokenizer(folder, tokenizer)
    request = {"folder": folder, "masked": masked, "questions": questions}
    answer = run_reader(PIPELINE_READER, request, tmp_path)
    assert answer["filled"] == answer["likely"]
    assert len(answer["filled"]) == 20
    assert answer["answers"] == answer["spans"]
