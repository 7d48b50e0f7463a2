"""Compiled dictionaries: what MeCab would crash on is refused before MeCab sees it."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.dictionary_files import (
    HEADER,
    TOKEN,
    UNIT,
    DictionaryFile,
    check_user_dictionary,
    dictionaries_in,
)
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.morphemes import (
    MecabSegmenter,
    dictionary_folder,
    dictionary_version,
)
from bert_ko.tokenization.user_dictionary import compile_user_dictionary
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS

SYSTEM = str(dictionary_folder() / "sys.dic")
# Opens each dictionary that was found good, and reads texts that meet its entries.
CHILD = """
import sys
from bert_ko.tokenization.morphemes import MecabSegmenter
for path in sys.stdin.read().split("\\n"):
    print(path, flush=True)
    segmenter = MecabSegmenter([path])
    for text in ("솔내글방에서 솔내글방지기가 햇살누리를 읽었다.", "솔내글방" * 90, "솔햇글"):
        segmenter.parts(text)
        segmenter.analyze(text)
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("compiled") / "words.dic"
    compile_user_dictionary({"솔내글방": -5000, "솔내글방지기": -4000, "햇살누리": 0}, str(path))
    return path.read_bytes()


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    check_user_dictionary(str(path), SYSTEM)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bits or bytes changed in the header, the used units, tokens and features, or anywhere."""
    found = bytearray(content)
    used = [*range(72), *range(72, 72 + 500 * 8), *range(len(content) - 300, len(content))]
    for _ in range(rng.choice((1, 1, 4, 16))):
        place = rng.choice(used) if rng.random() < 0.8 else rng.randrange(len(found))
        found[place] = rng.choice((found[place] ^ 1 << rng.randrange(8), rng.randrange(256)))
    return bytes(found)


def survivors(compiled: bytes, folder: Path, number: int) -> list[str]:
    """Paths of the mutated dictionaries that the check lets through."""
    rng, found = random.Random(13), []
    for i in range(number):
        path = folder / f"{i}.dic"
        try:
            check(path, mutated(compiled, rng))
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            found.append(str(path))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_mecab_survives_every_mutated_dictionary_that_is_let_through(
    number: int, compiled: bytes, tmp_path: Path
) -> None:
    paths = survivors(compiled, tmp_path, number)
    assert 0 < len(paths) < number
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input="\n".join(paths), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout.split("\n")[-2:]
    assert done.stdout.split() == paths


def test_check_user_dictionary_whole_ones_pass(compiled: bytes, tmp_path: Path) -> None:
    check(tmp_path / "words.dic", compiled)
    many = {"".join(map(chr, range(0xAC00 + i, 0xAC03 + i))): i for i in range(500)}
    path = str(tmp_path / "many.dic")
    compile_user_dictionary({**many, "가" * 100: 0, "ABC각😀": 1}, path)
    check_user_dictionary(path, SYSTEM)
    assert len(DictionaryFile.open(path).tokens) == 502


def with_field(content: bytes, part: str, name: str, value: int) -> bytes:
    """A dictionary with one number changed: of the header, or of the first token."""
    found = bytearray(content)
    header = np.frombuffer(found, HEADER, 1)
    if part == "header":
        header[name] = value
    else:
        start = 72 + int(header["array_bytes"][0])
        np.frombuffer(found, TOKEN, 1, start)[name] = value
    return bytes(found)


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("header", "magic", 1, "is not a compiled dictionary"),
        ("header", "token_bytes", 16, "its parts do not add up"),
        ("header", "version", 101, "for another system dictionary"),
        ("header", "left", 12, "for another system dictionary"),
        ("header", "type", 0, "for another system dictionary"),
        ("token", "left", 2693, "a token leads outside"),
        ("token", "right", 3822, "a token leads outside"),
        ("token", "feature", 1, "a token leads outside"),
        ("token", "feature", 2**31, "a token leads outside"),
    ],
)
def test_check_user_dictionary_wrong_number_is_named(
    part: str, name: str, value: int, words: str, compiled: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "user.dic"
    with pytest.raises(ValueError, match=words) as error:
        check(path, with_field(compiled, part, name, value))
    assert str(error.value).startswith(f"--mecab_user_dictionary: {path} ")


def test_check_user_dictionary_entry_that_never_ends_is_damage(
    compiled: bytes, tmp_path: Path
) -> None:
    # The first syllable leads back to the root: MeCab has room for 512 entries at one place.
    found = bytearray(compiled)
    units = np.frombuffer(found, UNIT, (len(found) - 72) // 8, 72)
    node = 0
    for byte in "솔".encode():
        node = units["base"][node] + byte + 1
    assert units["base"][node] > 0
    units["base"][node] = units["base"][0]
    with pytest.raises(ValueError, match="damaged"):
        check(tmp_path / "user.dic", bytes(found))


@pytest.mark.parametrize("content", [b"", b"x" * 500, "솔내글방,,,\n".encode()])
def test_segmenter_file_that_is_no_dictionary_raises(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "user.dic"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"user\.dic is not a compiled dictionary"):
        MecabSegmenter([str(path)])
    with pytest.raises(ValueError, match="not a regular file"):
        MecabSegmenter(["/dev/zero"])


def test_dictionaries_in_link_out_of_the_folder_raises(compiled: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    config = TokenizerConfig(mecab_dictionary=dictionary_version())
    outside = tmp_path / "user.dic"
    outside.write_bytes(compiled)
    write_folder(str(folder), [*SPECIAL_TOKENS, "책"], config, None, (str(outside),))
    (folder / "user.dic").rename(folder / "other.dic")
    (folder / "user.dic").symlink_to(folder / "other.dic")
    assert load_tokenizer(str(folder)).tokenize("책") == ["책"]
    (folder / "user.dic").unlink()
    (folder / "user.dic").symlink_to(outside)
    with pytest.raises(ValueError, match="a link to a file outside its folder"):
        load_tokenizer(str(folder))


def test_dictionaries_in_cache_of_the_hub_may_link_to_its_blobs(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0abc"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    (blobs / "12").write_bytes(b"")
    (snapshot / "user.dic").symlink_to(Path("..", "..", "blobs", "12"))
    assert dictionaries_in(str(snapshot), ["user.dic"]) == [str(snapshot / "user.dic")]
