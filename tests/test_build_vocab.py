"""build_vocab from end to end."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_ko import flags
from bert_ko.build_vocab import BuildVocabConfig, run
from bert_ko.data.corpus import CHUNK_BYTES, read_chunks
from bert_ko.page_flags import REPORT_NAME
from bert_ko.tokenization.config import CONFIG_NAME
from bert_ko.tokenization.folder import MODEL_NAME, VOCAB_NAME, load_tokenizer
from bert_ko.tokenization.reachability import unreachable_pieces
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS

REPOSITORY = Path(__file__).parents[1]
SAMPLE_CORPUS = str(REPOSITORY / "samples" / "corpus.txt")


def given(output_dir: Path) -> list[str]:
    return [
        *(f"--input_file={SAMPLE_CORPUS}", f"--output_dir={output_dir}"),
        *("--vocab_size=1500", "--num_workers=1"),
    ]


def build(output_dir: Path, *arguments: str) -> None:
    """The command in this process; several inputs or outputs by later arguments."""
    assert flags.run_command(BuildVocabConfig, run, [*given(output_dir), *arguments]) == 0


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(output_dir: Path, *arguments: str) -> str:
        assert flags.run_command(BuildVocabConfig, run, [*given(output_dir), *arguments]) == 1
        printed = capsys.readouterr().err
        (line,) = [line for line in printed.split("\n") if "error: " in line]
        assert "Traceback" not in printed
        return line.removeprefix("build_vocab: error: ")

    return call


def pieces(folder: Path) -> list[str]:
    return (folder / VOCAB_NAME).read_text(encoding="utf-8").split("\n")[:-1]


def contents(folder: Path) -> dict[str, bytes]:
    """What a folder has but for its page, which has a date."""
    assert (folder / REPORT_NAME).is_file()
    paths = sorted(path for path in folder.iterdir() if path.name != REPORT_NAME)
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def larger_corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Several chunks, mostly of blanks, so that two workers share the work."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    lines = Path(SAMPLE_CORPUS).read_text(encoding="utf-8").split("\n")
    parts = ["\n".join(lines[start::3]) for start in range(3)]
    path.write_text(f"\n\n{' ' * CHUNK_BYTES}\n\n".join(parts), encoding="utf-8")
    config = BuildVocabConfig(input_file=(str(path),), output_dir="")
    assert len(list(read_chunks([str(path)], config))) >= 3
    return str(path)


def test_build_vocab_mecab_writes_folder_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--additional_special_tokens=[이름]", "--num_unused=3", "--vocab_size=1200")
    build(tmp_path / "vocab", *arguments)
    found = pieces(tmp_path / "vocab")
    assert len(found) == 1200
    assert found[:9] == [*SPECIAL_TOKENS, "[unused0]", "[unused1]", "[unused2]", "[이름]"]
    assert sorted(contents(tmp_path / "vocab")) == [CONFIG_NAME, VOCAB_NAME]
    tokenizer = load_tokenizer(str(tmp_path / "vocab"))
    assert tokenizer.tokenize("[이름]은")[0] == "[이름]"
    printed = capsys.readouterr().out
    assert f"fingerprint {tokenizer.fingerprint}" in printed
    for row in ("pieces per morpheme", "[UNK] among pieces", "of them in KS X 1001 (2,350)"):
        assert row in printed


@pytest.mark.slow
def test_build_vocab_any_number_of_workers_gives_the_same_bytes(
    larger_corpus: str, tmp_path: Path
) -> None:
    for workers in ("1", "2"):
        folder = tmp_path / workers
        build(folder, f"--input_file={larger_corpus}", f"--num_workers={workers}")
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_build_vocab_corpus_twice_learns_the_same_pieces(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join([Path(SAMPLE_CORPUS).read_text(encoding="utf-8")] * 2), "utf-8")
    arguments = (f"--input_file={corpus}", "--min_frequency=2")
    build(tmp_path / "one", "--min_frequency=1")
    build(tmp_path / "many", *arguments)
    assert pieces(tmp_path / "one") == pieces(tmp_path / "many")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mecab", "wordpiece"])
@pytest.mark.parametrize("unit", ["eojeol", "morpheme"])
def test_build_vocab_trained_pieces_are_the_ones_that_encoding_uses(
    kind: str, unit: str, tmp_path: Path, sample_lines: list[str]
) -> None:
    arguments = (f"--tokenizer_type={kind}", f"--subword_prefix_unit={unit}")
    build(tmp_path, *arguments, "--character_coverage=1", "--num_unused=0")
    tokenizer = load_tokenizer(str(tmp_path))
    used = {piece for line in sample_lines for piece in tokenizer.tokenize(line)}
    assert "[UNK]" not in used
    assert unreachable_pieces(tokenizer) == []
    learnt = {piece for piece in pieces(tmp_path)[5:] if len(piece.removeprefix("##")) > 1}
    assert len(learnt & used) > 0.97 * len(learnt)


def test_build_vocab_uncased_kept_token_teaches_no_pieces(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("[NAME]은 책을 읽었다.\n" * 50, encoding="utf-8")
    arguments = (f"--input_file={corpus}", "--additional_special_tokens=[NAME]")
    for kind in ("mecab", "wordpiece"):
        folder = tmp_path / kind
        build(folder, *arguments, f"--tokenizer_type={kind}")
        assert not {piece for piece in pieces(folder)[106:] if "[" in piece or "m" in piece}
        assert load_tokenizer(str(folder)).tokenize("[NAME]은")[0] == "[NAME]"


def test_build_vocab_sentencepiece_encodes_with_offsets(
    tmp_path: Path, sample_lines: list[str]
) -> None:
    arguments = ("--tokenizer_type=sentencepiece", "--nodo_lower_case", "--vocab_size=1200")
    build(tmp_path, *arguments)
    assert sorted(contents(tmp_path)) == [MODEL_NAME, CONFIG_NAME, VOCAB_NAME]
    tokenizer = load_tokenizer(str(tmp_path / VOCAB_NAME))
    assert list(tokenizer.vocab.pieces) == pieces(tmp_path)
    assert len(tokenizer.vocab) == 1200
    text = f"  {sample_lines[0]}\u3000{sample_lines[1]}"
    encoding = tokenizer.encode(text)
    assert encoding.ids == [tokenizer.vocab[piece] for piece in encoding.pieces]
    surfaces = [text[a:b] for a, b in zip(encoding.starts, encoding.ends, strict=True)]
    for piece, surface in zip(encoding.pieces, surfaces, strict=True):
        assert piece.removeprefix("\u2581") == surface
    assert "".join(surfaces) == "".join(text.split())


def test_build_vocab_sentencepiece_learns_accents_that_encoding_meets(tmp_path: Path) -> None:
    corpus, folder = tmp_path / "corpus.txt", tmp_path / "vocab"
    text = Path(SAMPLE_CORPUS).read_text(encoding="utf-8")
    corpus.write_text(text + "\n솔내 café 앞에서 만나자." * 9, encoding="utf-8")
    arguments = (f"--input_file={corpus}", "--tokenizer_type=sentencepiece")
    build(folder, *arguments, "--character_coverage=1")
    assert "[UNK]" not in load_tokenizer(str(folder)).tokenize("café")
    build(folder)  # over a vocabulary of another type
    assert load_tokenizer(str(folder)).config.tokenizer_type == "mecab"


def test_build_vocab_user_dictionary_is_copied_and_used(
    user_dictionary: str, tmp_path: Path
) -> None:
    corpus, dictionary = tmp_path / "corpus.txt", shutil.copy(user_dictionary, tmp_path)
    corpus.write_text("솔내글방은 작다.\n" * 20, encoding="utf-8")
    arguments = (f"--input_file={corpus}", f"--mecab_user_dictionary={dictionary}")
    build(tmp_path / "vocab", *arguments)
    Path(dictionary).unlink()
    assert load_tokenizer(str(tmp_path / "vocab")).tokenize("솔내글방은") == ["솔내글방", "##은"]


def test_build_vocab_check_only_reports_and_writes_its_page_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path)
    before = contents(tmp_path)
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    (tmp_path / REPORT_NAME).unlink()
    capsys.readouterr()
    check = tmp_path.parent / "check.txt"
    check.write_text("뷁궳 책\n", encoding="utf-8")
    build(tmp_path, "--check_only", f"--check_file={check}")
    printed = capsys.readouterr().out
    assert "wrote" not in printed
    rows = dict(row.strip().rsplit("  ", 1) for row in printed.split("\n") if "  " in row.strip())
    rows = {name.strip(): value for name, value in rows.items()}
    assert rows["eojeols"] == "2"
    assert rows["pieces in the vocabulary"] == "1,500"
    assert rows["pieces that no text can reach"] == "0"
    assert rows["[UNK] among pieces"] in ("50.0000%", "66.6667%")
    assert contents(tmp_path) == before
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == stamps
    assert "check.txt:1 · 1 times" in (tmp_path / REPORT_NAME).read_text(encoding="utf-8")


def test_build_vocab_check_only_counts_pieces_that_no_text_can_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path)
    lines = pieces(tmp_path)
    lines[5:11] = ["GPU", "코로나19", "##코로나19", "\u1100\u1161", "챗gpt", "##É"]
    (tmp_path / VOCAB_NAME).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    capsys.readouterr()
    build(tmp_path, "--check_only")
    (row,) = [row for row in capsys.readouterr().out.split("\n") if "that no text can" in row]
    wanted = "pieces that no text can reach 6 GPU 코로나19 ##코로나19 \u1100\u1161 챗gpt"
    assert " ".join(row.split()) == wanted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input_file=/none/corpus.txt"], "/none/corpus.txt"),
        (["--vocab_size=200"], "--vocab_size=200 is too small: 105 reserved pieces and "),
        (["--vocab_size=4"], "--vocab_size must be at least 5, got 4."),
        (["--min_frequency=0"], "--min_frequency must be at least 1, got 0."),
        (["--num_unused=-1"], "--num_unused must be at least 0, got -1."),
        (["--character_coverage=0"], "--character_coverage must be in (0, 1], got 0.0."),
        (["--character_coverage=1.5"], "--character_coverage must be in (0, 1], got 1.5."),
        (["--tokenizer_type=bpe"], "--tokenizer_type must be one of mecab, sentencepiece"),
        (["--additional_special_tokens=[MASK]"], "--additional_special_tokens must be different"),
        (["--additional_special_tokens=[A],[A]"], "--additional_special_tokens must be different"),
        (["--additional_special_tokens=[unused1]"], "--additional_special_tokens must be differ"),
        (["--mecab_user_dictionary=/none/user.dic"], "--mecab_user_dictionary: cannot read"),
        (["--check_only"], "--output_dir: no such folder: "),
        (["--tokenizer_type=sentencepiece", "--vocab_size=90000"], "Vocabulary size too high"),
        (["--check_file=/none/check.txt"], "/none/check.txt"),
        (["--num_workers=0"], "--num_workers must be at least 1, got 0."),
    ],
)
def test_build_vocab_wrong_flag_is_one_line(
    arguments: list[str], words: str, tmp_path: Path, error_of: Callable[..., str]
) -> None:
    assert words in error_of(tmp_path / "vocab", *arguments)


@pytest.mark.parametrize("kind", ["mecab", "wordpiece", "sentencepiece"])
@pytest.mark.parametrize("content", ["", " \n\n\u3000\n\u200b\n"], ids=["empty", "blank"])
def test_build_vocab_no_text_names_the_files(
    kind: str, content: str, tmp_path: Path, error_of: Callable[..., str]
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(content, encoding="utf-8")
    arguments = (f"--input_file={corpus}", f"--tokenizer_type={kind}")
    error = error_of(tmp_path / "vocab", *arguments)
    assert error == f"no text in 1 input files: {corpus}."
    assert not (tmp_path / "vocab" / VOCAB_NAME).exists()


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer_type", ["mecab", "sentencepiece"])
def test_build_vocab_other_content_is_refused_and_other_encodings_are_read(
    tokenizer_type: str, tmp_path: Path, error_of: Callable[..., str]
) -> None:
    path, kind = tmp_path / "a.txt", f"--tokenizer_type={tokenizer_type}"
    text = Path(SAMPLE_CORPUS).read_text(encoding="utf-8")
    of_path = (f"--input_file={path}", kind)
    build(tmp_path / "utf-8", kind)
    path.write_bytes(text.encode("cp949", "replace"))
    assert error_of(tmp_path / "a", *of_path).startswith(f"{path}: not UTF-8 text but CP949; give")
    path.write_bytes(text.encode("utf-16"))
    build(tmp_path / "utf-16", *of_path)
    assert contents(tmp_path / "utf-16") == contents(tmp_path / "utf-8")
    path.write_bytes(text.encode() + 30 * "한글이다.\n".encode("cp949"))
    assert "30 of " in error_of(tmp_path / "a", *of_path)


def test_build_vocab_what_was_dropped_or_not_known_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, other = tmp_path / "a.csv", tmp_path / "b.txt"
    rows = [f"{i},봄이 오면 {i}번 산에 간다." for i in range(99)]
    corpus.write_text("\n".join(["id,text", '0,"꽃', *rows]), encoding="utf-8")
    other.write_text("漢字 文章\n", encoding="utf-8")
    build(tmp_path / "v", f"--input_file={corpus}", f"--check_file={other}", "--vocab_size=200")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings[0] == f"build_vocab: warning: 1 bad records ({corpus}:2 …)"
    assert warnings[1].startswith("build_vocab: warning: 100% of the pieces of this text are [UNK]")


@pytest.mark.parametrize("name", ["file", "file/vocab"])
def test_build_vocab_folder_that_cannot_be_made_raises(
    name: str, tmp_path: Path, error_of: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert str(tmp_path / "file") in error_of(tmp_path / name)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_build_vocab_unwritable_folder_raises_before_the_work(
    tmp_path: Path, error_of: Callable[..., str]
) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in error_of(tmp_path / "vocab")


def test_build_vocab_check_only_without_vocabulary_raises(
    tmp_path: Path, error_of: Callable[..., str]
) -> None:
    message = f"or {MODEL_NAME} in {tmp_path}, which has nothing"
    assert message in error_of(tmp_path, "--check_only")


@pytest.mark.parametrize("flags", [[], ["--words"], ["--tokenizer_type=sentencepiece"]])
def test_build_vocab_dry_run_writes_nothing(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "new", "--dry_run", *flags)
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    assert re.search(r"^text +27\.4 kB in 1 file$", printed, re.M)
    assert re.search(
        r"^words +about \d,\d{3}, \d,\d{3} distinct in what was looked at$", printed, re.M
    )
    assert re.search(r"^vocabulary +1,500 at most, into .*/new$", printed, re.M)
    for name in ("workers", "memory", "time"):
        assert re.search(rf"^{name} +\S", printed, re.M)


def test_build_vocab_ends_with_what_was_made_and_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "my vocab")
    box = capsys.readouterr().err.splitlines()[-7:]
    assert box[0].startswith("── made a vocabulary ─") and box[1] == f"made    {tmp_path}/my vocab/"
    assert re.fullmatch(
        r"scores  pieces per eojeol \d\.\d\d, \[UNK\] per 100 pieces \d\.\d\d", box[2]
    )
    assert box[3] == f"report  {tmp_path}/my vocab/report.html"
    assert box[5] == (
        f"  bert_ko create_pretraining_data --input_file={SAMPLE_CORPUS} "
        f"'--vocab_file={tmp_path}/my vocab' --output_file={tmp_path}/shards/text.tfrecord@16 "
        "--do_whole_word_mask"
    )


@pytest.mark.slow
def test_build_vocab_launcher_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "bin" / "build_vocab"), *given(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert f"wrote {tmp_path}" in done.stderr
    assert len(pieces(tmp_path)) == 1500
