import bz2
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from bert_ko.data.corpus import Chunk, CorpusFlags, find_files, pack, read_chunks
from bert_ko.data.plans import (
    Group,
    WholeFile,
    corpus_chunks,
    group_files,
    read_plans,
    write_plans,
)
from bert_ko.engines import LocalEngine

TEXTS = [f"{n}번째 글이다.\n줄이 {n % 5}개 더 있다." for n in range(60)]
TEXT = "\n\n".join(TEXTS)
RECORDS = [{"text": text, "n": n} for n, text in enumerate(TEXTS)]
JSONL = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
CSV = "n,text\r\n" + "".join(f'{n},"{text}"\r\n' for n, text in enumerate(TEXTS))
FORMS: dict[str, str | bytes] = {
    "a.txt": TEXT,
    "mark.txt": "\ufeff" + TEXT,
    "unix.txt": TEXT + "\n",
    "old.txt": TEXT.replace("\n", "\r"),
    "dos.txt": TEXT.replace("\n", "\r\n"),
    "twice.txt": TEXT.replace("\n", "\r\r\n"),
    "mixed.txt": TEXT.replace("\n\n", "\r\n\r").replace("줄", "\r줄"),
    "one_line.txt": TEXT.replace("\n", " "),
    "empty.txt": "",
    "damaged.txt": (TEXT + "깨진 줄 ").encode() + b"\xff\n",
    "wiki_00": "".join(f'<doc id="{n}">\n{text}\n</doc>\n' for n, text in enumerate(TEXTS)),
    "a.jsonl": JSONL,
    "list.json": json.dumps(RECORDS, indent=1),
    "a.csv": CSV,
    "a.tsv": "n\ttext\n" + "".join(f"{n}\t{text[:5]}\n" for n, text in enumerate(TEXTS)),
    "wide.txt": TEXT.encode("utf-16"),
    "a.txt.gz": gzip.compress(TEXT.encode()),
    "a.jsonl.bz2": bz2.compress(JSONL.encode()),
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, data in FORMS.items():
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    parquet.write_table(pa.table({"text": TEXTS}), folder / "a.parquet", row_group_size=7)
    return folder


def contents(chunks: Iterable[Chunk]) -> list[tuple[Any, ...]]:
    return [(chunk.number, chunk.size, *chunk.parts()) for chunk in chunks]


@pytest.mark.parametrize("chunk_bytes", [100, 700, 1 << 20])
def test_plans_chunks_are_those_that_one_process_reads(
    chunk_bytes: int, corpus: Path, tmp_path: Path
) -> None:
    config = CorpusFlags(input_file=(str(corpus),))
    paths = find_files(config)
    assert len(paths) == len(FORMS) + 1
    plans = []
    for number, path in enumerate(paths):
        group = Group(number, (path,), 1)
        plans.append(f"{tmp_path}/{number}.json")
        write_plans(group, config.reading, chunk_bytes, plans[-1], f"{tmp_path}/{number}.bin")
    copied = [Path(paths[int(path.stem)]).name for path in tmp_path.glob("*.bin")]
    assert sorted(copied) == ["a.jsonl.bz2", "a.parquet", "a.txt.gz", "wide.txt"]
    places = (place for path in plans for place in read_plans(path))
    wanted = contents(read_chunks(paths, config, chunk_bytes))
    assert contents(pack(places, chunk_bytes)) == wanted


def test_plans_files_of_a_group_share_a_copy(corpus: Path, tmp_path: Path) -> None:
    config = CorpusFlags(input_file=(f"{corpus}/a.*",))
    paths = find_files(config)
    plan, copy = f"{tmp_path}/plan.json", f"{tmp_path}/copy.bin"
    write_plans(Group(0, tuple(paths), 1), config.reading, 500, plan, copy)
    assert contents(pack(read_plans(plan), 500)) == contents(read_chunks(paths, config, 500))
    stored = {place.stored for place in read_plans(plan)}
    assert copy in stored and len(stored) == 1 + sum("copy" not in path for path in stored)


def test_place_file_that_has_become_shorter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    config = CorpusFlags(input_file=(str(path),))
    plan = f"{tmp_path}/plan.json"
    write_plans(Group(0, (str(path),), 1), config.reading, 500, plan, f"{tmp_path}/copy")
    path.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.txt has become shorter; run the command again"):
        list(next(read_plans(plan)).load())


class ApartEngine(LocalEngine):
    reads_apart = True


def test_corpus_chunks_read_apart_have_the_same_parts(corpus: Path) -> None:
    config = CorpusFlags(input_file=(str(corpus),))
    paths = find_files(config)
    engine = ApartEngine(1)
    with engine.pool(list) as pool:
        chunks = list(corpus_chunks(paths, config, engine, pool))
    whole = [source.path for chunk in chunks for source in chunk.sources
             if isinstance(source, WholeFile)]  # fmt: skip
    assert len(whole) == 4
    parts = [part for chunk in chunks for part in chunk.parts()]
    assert parts == [part for chunk in read_chunks(paths, config) for part in chunk.parts()]


def test_group_files_small_ones_share_a_group_and_there_are_few(tmp_path: Path) -> None:
    large, small = 64 << 20, 1 << 20
    paths = [str(number) for number in range(67)]
    groups = list(group_files(paths, [large, *[small] * 66]))
    assert [group.size for group in groups] == [large, large, 2 * small]
    assert [path for group in groups for path in group.paths] == paths
    assert [group.number for group in groups] == [0, 1, 2]
    assert len(list(group_files(["a"] * 20_000, [large] * 20_000))) < 9000
