"""report.html of create_pretraining_data: what the shards have, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.documents import DROPPED, MENDED
from bert_ko.data.manifest import Manifest
from bert_ko.data.records import read_records
from bert_ko.data.totals import COUNTS, SHARES
from bert_ko.data.word_records import WordRecord, decode_word_record
from bert_ko.pages.sample import (
    Sample,
    masked_by_class,
    read_sample,
    spread,
    starts_word,
    surface,
)
from bert_ko.progress import format_bytes
from bert_ko.report.blocks import (
    Block,
    Facts,
    Headline,
    MarkedTexts,
    Note,
    Row,
    Section,
    Table,
    bars,
    number,
)
from bert_ko.report.facts import base_name, described_files, made_facts
from bert_ko.report.languages import Texts
from bert_ko.report.page import Page, Pairs, render_page, run_section
from bert_ko.report.rendering import read
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.word_vocabulary import UNKNOWN, UNKNOWN_ID

_SHOWN, _ANALYSED = 20, 100  # instances that are shown, and whose parts of speech are found
_MOST_WORD_RECORDS = 200  # of a shard
_BARS = 10  # of lengths
_PAIRS = {
    ("nsp", 0): "the second segment follows the first",
    ("nsp", 1): "the second segment is a random one",
    ("sop", 0): "the segments are in their order",
    ("sop", 1): "the segments are swapped",
}


class Data(NamedTuple):
    """What is shown."""

    folder: str  # of the manifest
    manifest: Manifest
    paths: Sequence[str]  # of the shards that have records
    flags: Pairs
    t: Texts


def render_instances(data: Data, tokenizer: Tokenizer) -> str:
    """Returns the page of instances for a masked language model."""
    t, sample = data.t, read_sample(data.manifest, data.paths)
    return _render(
        data,
        [
            *_length_sections(t, sample, data.manifest.instances.max_seq_length),
            *_speech_sections(t, tokenizer, sample.take(_ANALYSED)),
            Section("instances", t("Instances"), _instance_blocks(data, tokenizer, sample)),
        ],
    )


def render_records(data: Data) -> str:
    """Returns the page of words for a bidirectional language model."""
    t = data.t
    records = [
        decode_word_record(record)
        for path in spread(data.paths)
        for record in islice(read_records(path), _MOST_WORD_RECORDS)
    ]
    lengths = np.array([len(record.words) for record in records], np.int64)
    places = np.unique(np.linspace(0, len(records) - 1, min(_SHOWN, len(records))).astype(int))
    shown = [_word_row(t, records[place]) for place in places]
    legend = {"unknown": UNKNOWN}
    return _render(
        data,
        [
            Section("lengths", t("Lengths"), [_length_bars(t("Words of a record"), lengths)]),
            Section("records", t("Records"), [MarkedTexts(shown, legend)]),
        ],
    )


def _render(data: Data, sections: Sequence[Section]) -> str:
    t, totals = data.t, data.manifest.totals
    rows = [(t(text), f"{totals[name]:,}") for name, text in COUNTS.items() if name in totals]
    shares = [(t(text), f"{totals[name]:.2%}") for name, text in SHARES.items() if name in totals]
    title = t("{folder}: pre-training data", folder=base_name(data.folder))
    headline = Headline([(name, value, "") for name, value in [*rows[-2:], *shares[:2]]])
    counted = Section("scores", t("Totals"), [headline, Facts([*rows, *shares])])
    content = [counted, *_dropped(t, totals), *sections, _run(data)]
    return render_page(Page(title, content), style=read("pages/pretraining_data.css"), t=t)


def _dropped(t: Texts, totals: Mapping[str, Any]) -> list[Section]:
    """What was dropped or mended, how often and where first."""
    blocks: list[Block] = []
    for kind, caption, texts in (
        ("dropped", "What was dropped", DROPPED), ("mended", "What was mended", MENDED),
    ):  # fmt: skip
        rows: list[Row] = []
        for name, text in texts.items():
            if count := totals.get(kind, {}).get(name):
                places = totals.get("examples", {}).get(name, [])
                where = ", ".join(map(base_name, places)) or "–"
                rows.append((t(text), number(count, ",d"), where))
        if rows:
            blocks.append(Table(t(caption), [t("What"), t("How often"), t("Where")], rows))
    nothing = [Note(t("Nothing was dropped or mended."))]
    return [Section("dropped", t("Left out"), blocks or nothing)]


def _run(data: Data) -> Section:
    t, manifest = data.t, data.manifest
    size = format_bytes(sum(shard.bytes for shard in manifest.shards))
    facts = [
        (t("corpus"), described_files([file.path for file in manifest.inputs])),
        (t("shards"), t("{count} shards, {size}", count=f"{len(manifest.shards):,}", size=size)),
        (t("seed"), str(manifest.flags.get("random_seed", "–"))),
        (t("fingerprint"), manifest.tokenizer_fingerprint),
        *made_facts(t),
    ]
    return run_section(t, facts, data.flags)


def _length_sections(t: Texts, sample: Sample, most: int) -> list[Section]:
    seen = t("Of {count} instances that were read again.", count=f"{len(sample.lengths):,}")
    blocks = [Note(seen), _length_bars(t("Pieces of an instance"), sample.lengths, most)]
    return [Section("lengths", t("Lengths"), blocks)]


def _length_bars(caption: str, lengths: npt.NDArray[np.int64], most: int | None = None) -> Block:
    top = int(lengths.max(initial=1)) if most is None else most
    width = max(1, -(-top // _BARS))
    names = [f"{i * width + 1}–{min(top, (i + 1) * width)}" for i in range(-(-top // width))]
    places = np.clip((lengths - 1) // width, 0, len(names) - 1)
    counts = np.bincount(places, minlength=len(names)).tolist()
    return bars(caption, dict(zip(names, counts, strict=True)))


def _speech_sections(t: Texts, tokenizer: Tokenizer, sample: Sample) -> list[Section]:
    if not tokenizer.has_morphemes:
        return []
    pieces, masked, segments = masked_by_class(tokenizer, sample)
    if not segments:
        return []
    rows: list[Row] = [
        (
            t(name),
            number(count, ",d"),
            number(masked[name], ",d"),
            number(100 * masked[name] / count, ".1f"),
        )
        for name, count in pieces.most_common()
    ]
    seen = t("Of {count} segments, analysed again by MeCab.", count=f"{segments:,}")
    headers = [t("Part of speech"), t("Pieces"), t("Masked"), t("Percent")]
    table = Table(t("Masked pieces by part of speech"), headers, rows)
    return [Section("speech", t("Parts of speech"), [Note(seen), table])]


def _instance_blocks(data: Data, tokenizer: Tokenizer, sample: Sample) -> list[Block]:
    t, shown = data.t, sample.take(_SHOWN)
    rows = [_instance_row(data, tokenizer, shown, row) for row in range(len(shown.lengths))]
    legend = {
        "w0": t("masked: a word in one colour"),
        "w1": t("the next masked word in the other"),
        "w0 kept": t("to be guessed, but left as it is"),
        "w1 random": t("replaced at random → by this"),
    }
    return [MarkedTexts(rows, legend)]


def _instance_row(
    data: Data, tokenizer: Tokenizer, sample: Sample, row: int
) -> tuple[list[tuple[str, str]], str]:
    """The text of an instance with its masks, and a note."""
    names, mask_id = tokenizer.vocab.pieces, tokenizer.vocab.mask_id
    length = int(sample.lengths[row])
    parts: list[tuple[str, str]] = []
    words, was_in_word, is_first = 0, False, True
    for place in range(length):
        piece, seen = names[sample.pieces[row, place]], int(sample.seen[row, place])
        if piece in ("[CLS]", "[SEP]"):
            if piece == "[SEP]" and place + 1 < length:
                parts.append((" [SEP] ", "between"))
            was_in_word, is_first = False, True
            continue
        is_start = starts_word(piece, tokenizer.model is not None)
        if is_start and not is_first:
            parts.append((" ", ""))
        is_first, text = False, surface(piece)
        if not sample.is_target[row, place]:
            parts.append((text, ""))
            was_in_word = False
            continue
        words += is_start or not was_in_word
        was_in_word, kind = True, f"w{words % 2}"
        if seen == sample.pieces[row, place]:
            kind += " kept"
        elif seen != mask_id:
            kind, text = f"{kind} random", f"{text}→{surface(names[seen])}"
        parts.append((text, kind))
    return parts, _note(data, sample, row)


def _note(data: Data, sample: Sample, row: int) -> str:
    t, masked = data.t, int(sample.is_target[row].sum())
    counts = {"count": int(sample.lengths[row]), "masked": masked}
    said = t("{count} pieces, {masked} masked", **counts)
    pair = _PAIRS.get((data.manifest.instances.next_sentence, int(sample.labels[row])))
    return f"{said} · {t(pair)}" if pair else said


def _word_row(t: Texts, record: WordRecord) -> tuple[list[tuple[str, str]], str]:
    parts: list[tuple[str, str]] = []
    for word, id in zip(record.words, record.word_ids.tolist(), strict=True):
        parts += [(" ", "")] * bool(parts) + [(word, "unknown" if id == UNKNOWN_ID else "")]
    counts = {"count": len(record.words), "sentences": len(record.sentence_lengths)}
    return parts, t("{count} words, {sentences} sentences", **counts)
