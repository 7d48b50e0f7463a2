"""report.html of create_pretraining_data: what is shown of shards, masked or not, and of words."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko import build_vocab, create_pretraining_data, flags
from bert_ko.build_vocab import BuildVocabConfig
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig
from bert_ko.data.manifest import Manifest, read_manifest
from bert_ko.pages.sample import OTHERS, masked_by_class, read_sample, spread, word_class
from bert_ko.tasks.pretraining.shard_checks import find_shards
from bert_ko.tokenization.folder import load_tokenizer
from tests.pages import check_page

Parse = Callable[[str], Any]
REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "samples" / "corpus.txt"
VOCAB = REPOSITORY / "vocab" / "ko-mecab-32k"
LATIN = [
    "MeCab",
    "dynamic",
    "out",
    "UNK",
    "MASK",
    "SEP",
    "corpus",
    "txt",
    "tfrecord",
    "next_sentence_labels",
]


def make(folder: Path, *more: str) -> Path:
    """Shards in a folder; returns its page."""
    arguments = [
        f"--input_file={SAMPLE}", f"--output_file={folder}/s.tfrecord@3", f"--vocab_file={VOCAB}",
        "--num_workers=1", "--max_seq_length=64", "--dupe_factor=1", *more,
    ]  # fmt: skip
    run = create_pretraining_data.run
    assert flags.run_command(CreatePretrainingDataConfig, run, arguments) == 0
    return folder / "report.html"


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dynamic")
    return make(folder, "--masking=dynamic", "--do_whole_word_mask").parent


@pytest.mark.slow
def test_sample_of_dynamic_and_static_shards_is_masked_alike(dynamic: Path, tmp_path: Path) -> None:
    make(tmp_path, "--do_whole_word_mask")
    tokenizer = load_tokenizer(str(VOCAB))
    for folder in (dynamic, tmp_path):
        path = str(folder / "manifest.json")
        manifest = Manifest.from_json(read_manifest(path) or {}, path)
        shards = find_shards([str(folder)])  # without the page and the manifest
        assert len(shards) == 3
        sample = read_sample(manifest, shards)
        assert len(sample.lengths) == manifest.totals["instances"]
        assert 0.10 < sample.is_target.sum() / sample.lengths.sum() < 0.16
        assert (sample.seen != sample.pieces).sum() <= sample.is_target.sum()
        hidden = sample.seen[sample.is_target] == tokenizer.vocab.mask_id
        assert 0.7 < hidden.mean() < 0.9
        assert (sample.seen == sample.pieces)[~sample.is_target].all()
        assert not (sample.pieces == tokenizer.vocab.mask_id).any()
        assert len(sample.take(5).lengths) == 5
        pieces, masked, segments = masked_by_class(tokenizer, sample.take(20))
        assert segments >= 20 and {"nouns", "josa", "endings"} <= pieces.keys()
        assert all(0 <= masked[name] <= count for name, count in pieces.items())
        assert 0.05 < masked.total() / pieces.total() < 0.3


def test_page_of_more_shards_than_instances_is_made(tmp_path: Path, parse: Parse) -> None:
    corpus = tmp_path / "a.txt"
    corpus.write_text("봄이 온다. 꽃이 핀다.\n", encoding="utf-8")
    output = f"--output_file={tmp_path}/out/s.tfrecord@9"
    page = make(tmp_path / "out", f"--input_file={corpus}", output, "--next_sentence=none")
    assert len(parse(read(page)).by_id("instances").all("li")) == 1
    assert "9 shards, " in read(page)


def test_spread_has_the_first_and_the_last() -> None:
    assert spread(["a"]) == ["a"] and spread(["a", "b", "c"]) == ["a", "b", "c"]
    assert spread([str(i) for i in range(100)]) == ["0", "33", "66", "99"]


@pytest.mark.parametrize(
    ("pos", "name"),
    [
        ("NNG", "nouns"), ("NP+JKS", "pronouns"), ("VV+EF", "verbs and adjectives"), ("JX", "josa"),
        ("SSO", "punctuation"), ("SL", "foreign letters"), ("UNKNOWN", OTHERS), ("", OTHERS),
    ],
)  # fmt: skip
def test_word_class_is_that_of_the_first_tag(pos: str, name: str) -> None:
    assert word_class(pos) == name


def test_page_of_instances_shows_masks_pairs_and_lengths(dynamic: Path, parse: Parse) -> None:
    root = parse(read(dynamic / "report.html"))
    assert root.all("h1")[0].text.endswith(": pre-training data")
    path = str(dynamic / "manifest.json")
    totals = Manifest.from_json(read_manifest(path) or {}, path).totals
    facts = {
        row.all("dt")[0].text: row.all("dd")[0].text for row in root.by_id("scores").all("div")
    }
    assert facts["instances"] == f"{totals['instances']:,}"
    assert facts["padding"] == f"{totals['padding_share']:.2%}"
    items = root.by_id("instances").all("li")
    assert len(items) == 20
    for item in items:
        (masked,) = re.findall(r"pieces, (\d+) masked · the second segment", item.text)
        assert len([m for m in item.all("mark") if m.attributes["class"] != "between"]) == int(
            masked
        )
    counts = [int(data.text.split(" ")[0]) for data in root.by_id("lengths").all("data")]
    assert sum(counts) == totals["instances"] and len(counts) == 10
    assert root.by_id("dropped").all("table") == []
    assert "corpus.txt, " in root.by_id("run").text and str(SAMPLE) not in root.text


@pytest.mark.slow
def test_page_of_instances_is_readable_everywhere_and_made_again(
    dynamic: Path, browser: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    english = read(dynamic / "report.html")
    shards = {path: path.read_bytes() for path in dynamic.glob("s.tfrecord*")}
    (dynamic / "report.html").unlink()
    more = ("--masking=dynamic", "--do_whole_word_mask", "--report_language=ko")
    page = read(make(dynamic, *more))
    assert "already complete" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in shards} == shards
    words = re.findall("[A-Za-z]{3,}", SAMPLE.read_text(encoding="utf-8"))
    check_page(browser, english, page, {*LATIN, *words, *map(str.lower, words), "gpu"})


def test_page_says_what_was_dropped_and_where(tmp_path: Path, parse: Parse) -> None:
    rows = [f"{i},{line}" for i, line in enumerate(["봄이 온다. 꽃이 핀다."] * 9)]
    corpus = tmp_path / "<글>.csv"
    corpus.write_text("\n".join(["id,text", '0,"꽃', *rows]), encoding="utf-8")
    more = ("--drop_duplicate_documents", "--next_sentence=none")
    page = make(tmp_path / "out", f"--input_file={corpus}", *more)
    (table,) = parse(read(page)).by_id("dropped").all("table")
    found = [[cell.text for cell in tr if cell.tag in ("th", "td")] for tr in table.all("tr")]
    assert ["bad records", "1", "<글>.csv:2"] in found
    assert found[1][:2] == ["duplicate documents", "8"]


@pytest.mark.slow
def test_page_of_words_marks_the_unknown_ones(tmp_path: Path, browser: Any, parse: Parse) -> None:
    arguments = [
        f"--input_file={SAMPLE}", f"--output_dir={tmp_path}/v", "--words", "--vocab_size=300",
        "--num_workers=1",
    ]  # fmt: skip
    assert flags.run_command(BuildVocabConfig, build_vocab.run, arguments) == 0
    pages = []
    for language in ("en", "ko"):
        page = tmp_path / "out" / "report.html"
        arguments = [
            f"--input_file={SAMPLE}", f"--output_file={tmp_path}/out/s@2", "--objective=bilm",
            f"--vocab_file={tmp_path}/v", "--num_workers=1", f"--report_language={language}",
        ]  # fmt: skip
        run = create_pretraining_data.run
        assert flags.run_command(CreatePretrainingDataConfig, run, arguments) == 0
        pages.append(read(page))
    root = parse(pages[0])
    assert len(root.by_id("records").all("li")) == min(20, np.array(re.findall(
        r"\d+ words, \d+ sentences", pages[0]
    )).size)  # fmt: skip
    assert {mark.attributes["class"] for mark in root.all("mark")} == {"unknown"}
    words = re.findall("[A-Za-z]{3,}", SAMPLE.read_text(encoding="utf-8"))
    check_page(browser, *pages, {*LATIN, *words})
