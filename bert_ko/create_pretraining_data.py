"""create_pretraining_data: a corpus to TFRecord shards, of instances for BERT or of words."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bert_ko import files
from bert_ko.closing import close, command_line
from bert_ko.data.buckets import choose_num_buckets
from bert_ko.data.corpus import CHUNK_BYTES, estimated_sizes, find_files
from bert_ko.data.makers import InstanceMaker, ShardMaker, WordMaker
from bert_ko.data.manifest import (
    FORMATS,
    InputFile,
    Manifest,
    compare_runs,
    is_manifest,
    listed_shards,
    manifest_path,
    read_manifest,
    shard_paths,
)
from bert_ko.data.outlook import sample
from bert_ko.data.pipeline import (
    Recipe,
    clear_work_folder,
    has_work_files,
    remove_work_files,
    run_pipeline,
)
from bert_ko.data.settings import (
    Overflow,
    PipelineFlags,
    overflow_unsaid,
    refuse_meaningless,
)
from bert_ko.data.shards import is_as_written
from bert_ko.data.totals import table_rows, totals
from bert_ko.engines import Engine, open_engine
from bert_ko.flags import changed_flags, output_flags, run_command, run_module, values_before
from bert_ko.json_files import write_json
from bert_ko.messages import say, show_scores, warn
from bert_ko.outlook import DryRunFlags, show_outlook
from bert_ko.page_flags import REPORT_NAME, PageFlags
from bert_ko.page_writing import write_page
from bert_ko.pages.pretraining_data import Data, render_instances, render_records
from bert_ko.progress import format_bytes, format_table
from bert_ko.report.facts import given_flags
from bert_ko.report.languages import Texts
from bert_ko.shipped import find_shipped
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.settings import TokenizerFlags
from bert_ko.tokenization.unknown import warn_of_unknown, warn_of_unknown_words
from bert_ko.tokenization.word_vocabulary import load_word_vocabulary

_BUCKET_BYTES = 4 << 20
_WORK_DIR = ".create_pretraining_data"
_SMALL_CONFIG = "ko-mecab-32k/bert_config_mini.json"  # it fits smaller vocabularies, too


@dataclass(frozen=True)
class CreatePretrainingDataConfig(TokenizerFlags, PageFlags, PipelineFlags, DryRunFlags):
    """Turns a corpus into TFRecord shards for pre-training.

    Run again after it was killed, the same command resumes where it stopped.
    """

    def __post_init__(self) -> None:
        """Raises: ValueError: flags that do not fit together."""
        super().__post_init__()
        refuse_meaningless(self.objective, changed_flags(self))

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """See Flags: a flag at its default has no meaning either, if it is given."""
        refuse_meaningless(given.get("objective", "masked_lm"), given)


_BEFORE = values_before(CreatePretrainingDataConfig)


def run(config: CreatePretrainingDataConfig) -> None:
    """Prepares, runs the pipeline, and writes the manifest."""
    config = dataclasses.replace(config, vocab_file=find_shipped(config.vocab_file))
    maker = _open_maker(config)
    if isinstance(maker, WordMaker):
        config = dataclasses.replace(config, bilm_unit=maker.unit)
    shards = shard_paths(config.output_file, config.num_shards)
    manifest = manifest_path(shards)
    # A folder that is both input and output holds the manifest and the page of an earlier run.
    folder = os.path.dirname(manifest)
    own = {os.path.realpath(path) for path in (manifest, files.join(folder, REPORT_NAME))}
    inputs = [path for path in find_files(config) if os.path.realpath(path) not in own]
    _refuse_own_input(inputs, shards)
    sizes = estimated_sizes(inputs)
    wanted = _wanted(config, maker, inputs, sum(sizes), shards)
    work_dir = _work_dir(config, manifest)
    run_file = files.join(work_dir, "run.json")
    if config.dry_run:
        _rehearse(config, maker, inputs, wanted, (manifest, run_file))
        return
    folders = [os.path.dirname(path) or "." for path in (*shards, manifest)]
    for folder in dict.fromkeys([*folders, work_dir]):
        files.require_writable_folder(folder)
    with files.lock(files.join(work_dir, "lock")):
        if config.overwrite:
            _forget(manifest, work_dir)
        config = dataclasses.replace(config, overflow=_overflow(config, (manifest, run_file)))
        wanted = dataclasses.replace(wanted, flags=_recorded_flags(config))
        if _is_complete(manifest, wanted, shards):
            say(f"{manifest}: already complete; --overwrite makes it again.")
            remove_work_files(work_dir)
            if page := _write_page(config, manifest, shards):
                say(f"report: {page}")
            return
        _start_or_resume(run_file, wanted)
        # No more workers than there are chunks.
        with open_engine(config, most_workers=1 + sum(sizes) // CHUNK_BYTES) as engine:
            make_maker = partial(_open_shared, config, _share(config, engine))
            recipe = Recipe(config, make_maker, tuple(shards), wanted.num_buckets, work_dir)
            finished = run_pipeline(recipe, inputs, sizes, engine)
        folder = manifest.rpartition("/")[0]
        listed = tuple(shard.relative_to(folder) for shard in finished.shards)
        found = totals(finished, config.objective)
        complete = dataclasses.replace(wanted, totals=found, shards=listed)
        write_json(manifest, complete.to_dict())
        remove_work_files(work_dir)
    page = _write_page(config, manifest, shards)
    _report(finished.counts, complete.totals, manifest)
    _close(config, manifest, page)


def _rehearse(
    config: CreatePretrainingDataConfig,
    maker: ShardMaker,
    inputs: list[str],
    wanted: Manifest,
    earlier: tuple[str, str],
) -> None:
    """Says what would be made, by the beginning of the corpus; compares with earlier runs."""
    shards = shard_paths(config.output_file, config.num_shards)
    state = "new"
    if not config.overwrite:
        config = dataclasses.replace(config, overflow=_overflow(config, earlier))
        wanted = dataclasses.replace(wanted, flags=_recorded_flags(config))
        manifest, run_file = earlier
        if _is_complete(manifest, wanted, shards):
            state = "complete already: nothing would be done"
        elif (values := read_manifest(run_file)) is not None:
            compare_runs(run_file, Manifest.from_json(values, run_file), wanted, _BEFORE)
            state = "begun: the run would be resumed"
    found = sample(inputs, config, maker.encode)
    unit, copies = "pieces", config.copies
    pieces = len(found.found.pieces) / found.share
    # Making instances takes about a thirtieth of the time of tokenizing, for each copy.
    rows = found.rows(config, factor=1.1 + copies / 30)
    if config.objective == "bilm":
        unit, pieces = "words", found.found.notes.counts["words"] / found.share
    else:
        length, masked = config.max_seq_length, config.max_predictions_per_seq
        instances = pieces * copies / (length - 3)
        size = instances * (4 * length + (0 if config.masking == "dynamic" else 7 * masked) + 150)
        rows.insert(2, ("instances", f"about {instances:,.0f}, {format_bytes(size)}"))
    rows.insert(2, (unit, f"about {pieces:,.0f}"))
    rows += [("shards", f"{len(shards):,}: {shards[0]} …"), ("output", state)]
    show_outlook(rows)


def _write_page(config: CreatePretrainingDataConfig, path: str, shards: list[str]) -> str | None:
    """Writes the page of what a manifest lists; see ``write_page``."""

    def make() -> str:
        manifest = Manifest.from_json(read_manifest(path) or {}, path)
        given, t = given_flags(config), Texts(config.report_language)
        # There may be more shards than instances.
        filled = [name for name, s in zip(shards, manifest.shards, strict=True) if s.records]
        data = Data(os.path.dirname(path), manifest, filled, given, t)
        if config.objective == "bilm":
            return render_records(data)
        return render_instances(data, load_tokenizer(config.vocab_file, config))

    return write_page(os.path.dirname(path), make)


def _open_maker(config: CreatePretrainingDataConfig) -> ShardMaker:
    """Opens the vocabulary."""
    if config.objective == "masked_lm":
        return InstanceMaker(config, load_tokenizer(config.vocab_file, config))
    words = load_word_vocabulary(config.vocab_file)
    if config.bilm_unit not in (None, words.unit):
        raise ValueError(
            f"--bilm_unit={config.bilm_unit} contradicts --vocab_file={config.vocab_file}, whose "
            f"words are {words.unit}s; leave the flag out, or give a vocabulary that was built "
            f"with bin/build_vocab --words --bilm_unit={config.bilm_unit}."
        )
    return WordMaker(config, words)


def _share(config: CreatePretrainingDataConfig, engine: Engine) -> Callable[[], list[str]]:
    return engine.share([config.vocab_file, *(config.mecab_user_dictionary or ())])


def _open_shared(
    config: CreatePretrainingDataConfig, shared: Callable[[], list[str]]
) -> ShardMaker:
    """Opens the vocabulary in a worker."""
    vocab_file, *dictionaries = shared()
    given = None if config.mecab_user_dictionary is None else tuple(dictionaries)
    return _open_maker(
        dataclasses.replace(config, vocab_file=vocab_file, mecab_user_dictionary=given)
    )


def _report(counts: Mapping[str, int], totals: Mapping[str, Any], manifest: str) -> None:
    """Prints the table, and warns of text that the vocabulary does not know."""
    show_scores(format_table(table_rows(totals), (manifest, "")))
    if "record_words" in counts:
        warn_of_unknown_words(counts["unknown_words"], counts["record_words"], "the corpus")
    else:
        warn_of_unknown(counts["unknown_pieces"], counts["pieces"], "the corpus")


def _close(config: CreatePretrainingDataConfig, manifest: str, page: str | None) -> None:
    """Says what was made, and how a model is trained on it."""
    folder = os.path.dirname(manifest) or "."
    beside = files.join(config.vocab_file, "bert_config.json")
    model = files.join(os.path.dirname(os.path.normpath(folder)), "model")
    arguments = ["--do_train", f"--input_file={folder}", f"--vocab_file={config.vocab_file}"]
    if config.objective == "masked_lm":
        found = beside if os.path.exists(beside) else _SMALL_CONFIG
        arguments += [f"--bert_config_file={found}", f"--max_seq_length={config.max_seq_length}"]
    else:  # of an ELMo, which the user writes
        arguments.append("--config_file=elmo.json")
    arguments.append(f"--output_dir={model}")
    close(
        f"made {len(shard_paths(config.output_file, config.num_shards)):,} shards",
        [files.join(folder, ""), manifest],
        report=page,
        next_command=command_line("run_pretraining", *arguments),
    )


def _recorded_flags(config: CreatePretrainingDataConfig) -> dict[str, Any]:
    """The flags that decide the bytes of the shards."""
    meaningful = config.meaningful_flags
    return {name: value for name, value in output_flags(config).items() if name in meaningful}


def _refuse_own_input(inputs: list[str], shards: list[str]) -> None:
    outputs = set(map(os.path.realpath, shards))
    for path in inputs:
        if os.path.realpath(path) in outputs:
            raise ValueError(
                f"--output_file names an input file, {path}, which would be lost; choose another."
            )


def _overflow(config: CreatePretrainingDataConfig, earlier_files: Sequence[str]) -> Overflow | None:
    """What the flag says; without it, a run from before the flag goes on as it was begun."""
    if config.objective == "bilm":
        return None  # all is kept
    if config.overflow is None and not config.overwrite:
        for path in earlier_files:
            values = read_manifest(path)
            if values is None or not is_manifest(values):
                continue
            if "overflow" not in Manifest.from_json(values, path).flags:
                return overflow_unsaid(config.next_sentence)
    return config.effective_overflow


def _wanted(
    config: CreatePretrainingDataConfig,
    maker: ShardMaker,
    inputs: list[str],
    text_bytes: int,
    shards: list[str],
) -> Manifest:
    """What decides the bytes of the shards; runs with equal ones make equal shards."""
    return Manifest(
        format=FORMATS[config.objective],
        flags=_recorded_flags(config),
        inputs=tuple(InputFile(**files.fingerprint(path)) for path in inputs),
        num_buckets=choose_num_buckets(text_bytes, len(shards), _BUCKET_BYTES),
        **maker.about(),
    )


def _work_dir(config: CreatePretrainingDataConfig, manifest: str) -> str:
    # Our own folder inside it, so that the user's files there are never touched.
    return files.join(config.work_dir or os.path.dirname(manifest) or ".", _WORK_DIR)


def _read_own(manifest: str) -> dict[str, Any] | None:
    """The content of a manifest of this command, of any version; None if there is none."""
    values = read_manifest(manifest)
    if values is not None and not is_manifest(values):
        raise ValueError(f"{manifest} is not from this command; write to another folder.")
    return values


def _forget(manifest: str, work_dir: str) -> None:
    """Removes an earlier run with its shards, which a glob would mix with the new ones."""
    values = _read_own(manifest)
    if values is not None:
        folder = os.path.dirname(manifest)
        for shard in listed_shards(values, manifest):
            path = files.join(folder, shard.path)
            if is_as_written(shard, folder):
                files.remove([path])
            elif files.exists(path) or os.path.lexists(path):
                warn(f"{path} stays: it is not the shard that {manifest} lists.")
        files.remove([manifest])
    remove_work_files(work_dir)
    files.require_writable_folder(work_dir)


def _is_complete(manifest: str, wanted: Manifest, paths: list[str]) -> bool:
    values = _read_own(manifest)
    if values is None:
        return False
    earlier = Manifest.from_json(values, manifest)
    compare_runs(manifest, earlier, wanted, _BEFORE)
    if len(earlier.shards) != len(paths):
        raise ValueError(
            f"{manifest}: shards must be {len(paths)}, got {len(earlier.shards)}; pass --overwrite."
        )
    listed = zip(earlier.shards, paths, strict=True)
    damaged = [path for shard, path in listed if not shard._replace(path=path).is_intact]
    if damaged:
        names = ", ".join(damaged)
        say(f"making again: {names} (missing, or its size has changed)")
    return not damaged


def _start_or_resume(path: str, wanted: Manifest) -> None:
    values = read_manifest(path)
    folder = os.path.dirname(path)
    if values is None or not has_work_files(folder):
        clear_work_folder(folder)
        write_json(path, wanted.to_dict())
    else:
        compare_runs(path, Manifest.from_json(values, path), wanted, _BEFORE)
        say("resuming where an earlier run was stopped")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(CreatePretrainingDataConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
