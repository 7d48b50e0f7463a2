"""build_vocab: a corpus to a vocabulary folder."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bert_ko import files
from bert_ko.closing import close, command_line
from bert_ko.data.corpus import CHUNK_BYTES, CorpusFlags, find_files, read_chunks
from bert_ko.data.documents import Notes
from bert_ko.data.outlook import sample
from bert_ko.data.words import (
    SyllableReport,
    VocabularyReport,
    count_chunk,
    count_whole_words,
    count_words,
    covered_syllables,
    find_texts,
    measure_vocabulary,
    read_sentences,
)
from bert_ko.engines import EngineFlags, open_engine
from bert_ko.flags import changed_flags, flag, run_command, run_module
from bert_ko.messages import say, show_scores, warn
from bert_ko.outlook import DryRunFlags, show_outlook
from bert_ko.page_flags import PageFlags
from bert_ko.page_writing import write_page
from bert_ko.pages.vocabulary import Run, render_pieces, render_words, unknown_words
from bert_ko.progress import format_bytes, format_table
from bert_ko.report.facts import base_name, given_flags
from bert_ko.report.languages import Texts
from bert_ko.tokenization.config import PrefixUnit, TokenizerConfig, TokenizerType, WordUnit
from bert_ko.tokenization.folder import default_config, load_tokenizer, write_folder
from bert_ko.tokenization.reachability import unreachable_pieces
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.unknown import warn_of_unknown, warn_of_unknown_words
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, SentencePieceModel, Vocabulary
from bert_ko.tokenization.vocabulary_training import (
    VocabularyFlags,
    train_sentencepiece,
    train_wordpiece,
)
from bert_ko.tokenization.word_splitting import WordSplitter
from bert_ko.tokenization.word_vocabulary import (
    UNKNOWN,
    load_word_vocabulary,
    make_word_vocabulary,
    write_word_vocabulary,
)

# The report needs no more text than this to be exact to a few digits.
_REPORT_CHUNKS = 16
# Flags of vocabularies of pieces.
_OF_PIECES = (
    "tokenizer_type", "subword_prefix_unit", "do_lower_case", "character_coverage",
    "forced_alphabet", "num_unused", "additional_special_tokens", "max_sentences",
)  # fmt: skip


@dataclass(frozen=True)
class BuildVocabConfig(VocabularyFlags, PageFlags, EngineFlags, CorpusFlags, DryRunFlags):
    """Trains a vocabulary on a corpus and writes its folder: vocab.txt, tokenizer_config.json.

    And report.html, which shows what it covers.

    With --words it counts whole words instead: words.txt, words.json.
    """

    group = "Words and report"

    output_dir: str = flag(help="Folder of the vocabulary.")
    words: bool = flag(
        False,
        main=True,
        help="Count whole words, for a bidirectional language model: words.txt has the most "
        "frequent ones, --vocab_size in all. Their case stays.",
    )
    bilm_unit: WordUnit | None = flag(
        None,
        help="What --words calls a word: what MeCab finds, or what stands between blanks. Default: "
        "morpheme.",
    )
    tokenizer_type: TokenizerType = flag(
        "mecab",
        main=True,
        help="mecab: WordPiece inside morphemes; sentencepiece: a .model on raw text; "
        "wordpiece: WordPiece inside Google's basic tokens.",
    )
    subword_prefix_unit: PrefixUnit = flag(
        "eojeol", help="`##` on every piece that does not start an eojeol, or a morpheme."
    )
    do_lower_case: bool = flag(True, help="Lower-case words; morphemes are found before.")
    mecab_user_dictionary: tuple[str, ...] = flag(
        (), help="Compiled MeCab user dictionaries (.dic); copied into the folder."
    )
    check_file: tuple[str, ...] = flag(
        (), help="Text for the report, in the form of the corpus. Default: the corpus's beginning."
    )
    check_only: bool = flag(
        False, main=True, help="Only report on the vocabulary that is in --output_dir."
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        self.check_given({name: getattr(self, name) for name in changed_flags(self)})
        if len(set(self.reserved)) < len(self.reserved):
            raise ValueError(
                "--additional_special_tokens must be different from each other, from [unusedN] and "
                f"from {' '.join(SPECIAL_TOKENS)}, got {','.join(self.additional_special_tokens)}."
            )

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """See Flags."""
        reasons = {"bilm_unit": "is for --words alone"}
        if given.get("words"):
            reasons = dict.fromkeys(_OF_PIECES, "has no meaning with --words, which has no pieces")
            if given.get("bilm_unit") == "eojeol":
                reasons["mecab_user_dictionary"] = "has no meaning with --bilm_unit=eojeol"
        for name in given:
            if name in reasons:
                raise ValueError(f"--{name} {reasons[name]}; leave it out.")

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        """What goes into tokenizer_config.json."""
        names = ["do_lower_case", "additional_special_tokens"]
        if self.tokenizer_type != "wordpiece":
            names.append("subword_prefix_unit")
        if self.tokenizer_type == "mecab":
            names.append("mecab_user_dictionary")
        return default_config(self.tokenizer_type, {name: getattr(self, name) for name in names})


def run(config: BuildVocabConfig) -> None:
    """Trains unless --check_only, then reports."""
    if config.check_only and not files.exists(config.output_dir):
        raise FileNotFoundError(f"--output_dir: no such folder: {config.output_dir}.")
    if config.dry_run:
        _rehearse(config)
        return
    if not config.check_only:
        files.require_writable_folder(config.output_dir)
    if config.words:
        _run_words(config)
        return
    if not config.check_only:
        train = _train_model if config.tokenizer_type == "sentencepiece" else _train_pieces
        train(config)
        say(f"wrote {config.output_dir}")
    _close(config, *_print_report(config))


def _rehearse(config: BuildVocabConfig) -> None:
    """Says what would be counted, by the beginning of the corpus."""
    splitter: Tokenizer | WordSplitter = _untrained_tokenizer(config)
    if config.words:
        splitter = WordSplitter(config.bilm_unit or "morpheme", config.mecab_user_dictionary)
    paths = find_files(config)
    found = sample(paths, config, lambda chunk: count_chunk(chunk, config, splitter))
    words, rows = found.found, found.rows(config)
    about = (
        f"about {words.total() / found.share:,.0f}, {len(words):,} distinct in what was looked at"
    )
    rows.insert(2, ("words", about))
    rows.append(("vocabulary", f"{config.vocab_size:,} at most, into {config.output_dir}"))
    show_outlook(rows)


def _run_words(config: BuildVocabConfig) -> None:
    checks_other = bool(config.check_file)
    if config.check_only:
        vocabulary = load_word_vocabulary(config.output_dir, "--output_dir")
        if config.bilm_unit not in (None, vocabulary.unit):
            raise ValueError(
                f"--bilm_unit={config.bilm_unit} contradicts {config.output_dir}, whose words are "
                f"{vocabulary.unit}s; leave it out."
            )
        checks_other = True
    else:
        splitter = WordSplitter(config.bilm_unit or "morpheme", config.mecab_user_dictionary)
        checked, counts = config, _count_whole_words(config, splitter)
        vocabulary = make_word_vocabulary(counts, splitter, config.vocab_size, config.min_frequency)
        coverage = vocabulary.measure(counts)
        write_word_vocabulary(config.output_dir, vocabulary, coverage, config.min_frequency)
        say(f"wrote {config.output_dir}")
    if checks_other:
        checked = replace(config, input_file=config.check_file or config.input_file)
        counts = _count_whole_words(checked, vocabulary.splitter())
        coverage = vocabulary.measure(counts)
    show_scores(f"\n{os.path.join(config.output_dir, '')} fingerprint {vocabulary.fingerprint}")
    rows = [
        ("words in the vocabulary", f"{len(vocabulary.words):,}"),
        (f"{vocabulary.unit}s", f"{coverage.words:,}"),
        ("distinct", f"{coverage.distinct_words:,}"),
        (f"{UNKNOWN} among them all", f"{coverage.unknown_share:.4%}"),
    ]
    show_scores(format_table(rows, ("on this text", "")))
    warn_of_unknown_words(coverage.unknown_words, coverage.words, "this text")
    page = write_page(
        config.output_dir,
        lambda: render_words(
            _page_run(config), vocabulary, coverage, counts,
            find_texts(find_files(checked), checked, unknown_words(vocabulary, counts)),
        ),
    )  # fmt: skip
    _close(config, {f"{UNKNOWN} per 100 words": 100 * coverage.unknown_share}, page)


def _page_run(config: BuildVocabConfig) -> Run:
    """What the page says of the run."""
    t = Texts(config.report_language)
    facts = [(t("corpus"), ", ".join(map(base_name, config.input_file)))]
    if config.check_file:
        facts.append((t("this text"), ", ".join(map(base_name, config.check_file))))
    elif not config.words:
        size = format_bytes(_REPORT_CHUNKS * CHUNK_BYTES)
        facts.append((t("this text"), t("the corpus, its first {size} at most", size=size)))
    return Run(config.output_dir, facts, given_flags(config), t)


def _close(config: BuildVocabConfig, scores: Mapping[str, float], page: str | None) -> None:
    """Says what was made, and how shards are made with it."""
    folder = os.path.join(config.output_dir, "")
    shards = os.path.join(os.path.dirname(os.path.normpath(config.output_dir)), "shards")
    arguments = [f"--input_file={','.join(config.input_file)}", f"--vocab_file={config.output_dir}",
                 f"--output_file={os.path.join(shards, 'text.tfrecord@16')}"]  # fmt: skip
    arguments.append("--objective=bilm" if config.words else "--do_whole_word_mask")
    close(
        f"{'looked at' if config.check_only else 'made'} a vocabulary",
        [] if config.check_only else [folder],
        scores,
        page,
        command_line("create_pretraining_data", *arguments),
    )


def _count_whole_words(config: BuildVocabConfig, splitter: WordSplitter) -> Counter[str]:
    paths, notes = find_files(config), Notes()
    with open_engine(config) as engine:
        dictionaries = engine.share(splitter.user_dictionaries)
        make_splitter = partial(_shared_splitter, splitter.unit, dictionaries)
        counts = count_whole_words(paths, config, make_splitter, engine, notes)
    if not counts:
        raise _no_text(paths)
    _warn_of(notes)
    return counts


def _shared_splitter(unit: WordUnit, dictionaries: Callable[[], list[str]]) -> WordSplitter:
    return WordSplitter(unit, tuple(dictionaries()))


def _train_pieces(config: BuildVocabConfig) -> None:
    paths, notes = find_files(config), Notes()
    with open_engine(config) as engine:
        dictionaries = engine.share(config.mecab_user_dictionary)
        make_tokenizer = partial(_shared_tokenizer, config, dictionaries)
        counts = count_words(paths, config, make_tokenizer, engine, notes)
    if not counts:
        raise _no_text(paths)
    _warn_of(notes)
    pieces = train_wordpiece(counts, config)
    settings = config.tokenizer_config
    write_folder(
        config.output_dir, pieces, settings, user_dictionaries=settings.mecab_user_dictionary
    )
    say(f"{counts.total():,} words, {len(counts):,} distinct; {len(pieces):,} pieces")


def _train_model(config: BuildVocabConfig) -> None:
    paths = find_files(config)
    notes = Notes()
    chunks = read_chunks(paths, config)
    sentences = read_sentences(chunks, config, _untrained_tokenizer(config), notes)
    first = next(sentences, None)
    if first is None:
        raise _no_text(paths)
    model = train_sentencepiece(itertools.chain([first], sentences), config, config.do_lower_case)
    _warn_of(notes)
    pieces = SentencePieceModel(model).pieces
    write_folder(config.output_dir, pieces, config.tokenizer_config, model)
    say(f"{len(pieces):,} pieces")


def _warn_of(notes: Notes) -> None:
    for line in notes.describe():
        warn(line)


def _no_text(paths: list[str]) -> ValueError:
    return ValueError(f"no text in {len(paths)} input files: {', '.join(paths[:5])}.")


def _shared_tokenizer(config: BuildVocabConfig, dictionaries: Callable[[], list[str]]) -> Tokenizer:
    return _untrained_tokenizer(replace(config, mecab_user_dictionary=tuple(dictionaries())))


def _untrained_tokenizer(config: BuildVocabConfig) -> Tokenizer:
    """Splits words as the trained one will; there is no vocabulary yet."""
    settings = config.tokenizer_config
    if config.tokenizer_type == "sentencepiece":
        # For its normalisation alone; the model itself folds case, and keeps accents.
        settings = replace(settings, tokenizer_type="wordpiece", do_lower_case=False)
    vocab = Vocabulary([*SPECIAL_TOKENS, *config.additional_special_tokens])
    return Tokenizer(vocab, settings, user_dictionaries=settings.mecab_user_dictionary)


def _print_report(config: BuildVocabConfig) -> tuple[dict[str, float], str | None]:
    """Shows the report; returns its main numbers, and where its page is."""
    tokenizer = load_tokenizer(config.output_dir)
    checked = replace(config, input_file=config.check_file or config.input_file)
    chunks = read_chunks(find_files(checked), checked)
    # The beginning of a corpus is no work for a cluster, and this process need not be one's head.
    local = replace(config, engine="local", spark_master=None, spark_conf=(),
                    num_workers=1 if config.engine == "spark" else config.num_workers)  # fmt: skip
    with open_engine(local) as engine:
        report = measure_vocabulary(
            chunks if config.check_file else itertools.islice(chunks, _REPORT_CHUNKS),
            config,
            partial(load_tokenizer, tokenizer.source),  # a copy on this machine
            engine,
        )
    show_scores(f"\n{os.path.join(config.output_dir, '')} fingerprint {tokenizer.fingerprint}")
    unreachable, syllables = unreachable_pieces(tokenizer), covered_syllables(tokenizer)
    rows = _report_rows(report, tokenizer, unreachable, syllables)
    show_scores(format_table(rows, ("on this text", "")))
    warn_of_unknown(report.unknown, report.pieces, "this text")
    page = write_page(
        config.output_dir,
        lambda: render_pieces(_page_run(config), tokenizer, report, syllables, unreachable),
    )
    scores = {
        "pieces per eojeol": report.pieces / max(1, report.eojeols),
        "[UNK] per 100 pieces": 100 * report.unknown / max(1, report.pieces),
    }
    return scores, page


def _report_rows(
    report: VocabularyReport,
    tokenizer: Tokenizer,
    unreachable: Sequence[str],
    syllables: SyllableReport,
) -> list[tuple[str, str]]:
    common = "".join(syllables.missing_common[:20])
    morphemes, eojeols = max(1, report.morphemes), max(1, report.eojeols)
    rows = [
        ("pieces in the vocabulary", f"{len(tokenizer.vocab):,}"),
        ("pieces that no text can reach", f"{len(unreachable):,} {' '.join(unreachable[:5])}"),
        ("eojeols", f"{report.eojeols:,}"),
        ("morphemes", f"{report.morphemes:,}"),
        ("pieces", f"{report.pieces:,}"),
        ("[UNK] among pieces", f"{report.unknown / max(1, report.pieces):.4%}"),
        ("pieces per morpheme", f"{report.pieces / morphemes:.4f}"),
        ("pieces per eojeol", f"{report.pieces / eojeols:.4f}"),
        ("morphemes that are one piece", f"{report.whole_morphemes / morphemes:.2%}"),
        ("Hangul syllables without a piece (of 11,172)", f"{syllables.missing_modern:,}"),
        ("of them in KS X 1001 (2,350)", f"{len(syllables.missing_common):,} {common}"),
    ]
    return [(name, value.rstrip()) for name, value in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(BuildVocabConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
