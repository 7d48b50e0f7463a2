"""How tags are spelt: which scheme a file's tags follow, what they become, what is refused."""

from pathlib import Path

import pytest

from bert_ko.tasks.ner.bio import Entity
from bert_ko.tasks.ner.examples import Dataset, FileFormat, read_dataset

ENTITIES = [("PS", "한 지우"), ("LC", "강릉 바다 앞에서"), ("LC", "속초")]
WORDS = ["한", "지우", "씨는", "강릉", "바다", "앞에서", "속초", "쪽을", "봤다"]
BIO = "B-PS I-PS O B-LC I-LC I-LC B-LC O O"


def read(folder: Path, content: str, file_format: FileFormat = "auto") -> Dataset:
    path = folder / "tags.txt"
    path.write_text(content, encoding="utf-8")
    return read_dataset(str(path), file_format)


def rows(tags: str, between: str = "\t", words: list[str] = WORDS) -> str:
    return "".join(f"{word}{between}{t}\n" for word, t in zip(words, tags.split(), strict=True))


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [
        (kind, sentence.text[start:end])
        for sentence in dataset.sentences
        for kind, start, end in sentence.spans(sentence.tags)
    ]


SCHEMES = [
    ("BIO", BIO),
    ("BIO", "B_PS I_PS O B_LC I_LC I_LC B_LC O O"),
    ("BIO", "PS-B PS-I O LC-B LC-I LC-I LC-B O O"),
    ("BIO", "PS_B PS_I O LC_B LC_I LC_I LC_B O O"),
    ("IOB1", "I-PS I-PS O I-LC I-LC I-LC B-LC O O"),
    ("BIOES", "B-PS E-PS O B-LC I-LC E-LC S-LC O O"),
    ("BIOES", "PS_B PS_E O LC_B LC_I LC_E LC_S O O"),
    ("IOE", "I-PS E-PS O I-LC I-LC E-LC E-LC O O"),
    ("BILOU", "B-PS L-PS O B-LC I-LC L-LC U-LC O O"),
    ("BMES", "B_PS E_PS O B_LC M_LC E_LC S_LC O O"),
    ("BMEW", "B-PS E-PS O B-LC M-LC E-LC W-LC O O"),
]


@pytest.mark.parametrize(("scheme", "tags"), SCHEMES)
@pytest.mark.parametrize("between", ["\t", " ", " NNP  "])
def test_read_dataset_every_scheme_gives_the_same_entities(
    scheme: str, tags: str, between: str, tmp_path: Path
) -> None:
    dataset = read(tmp_path, rows(tags, between))
    assert dataset.sentences[0].tags == tuple(BIO.split())
    assert (dataset.scheme, dataset.problems) == (scheme, {})
    assert dataset.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")
    changed = sum(a != b for a, b in zip(tags.split(), BIO.split(), strict=True))
    assert sum(dataset.conversions.values()) == changed


def test_read_dataset_characters_and_sentences_have_schemes_too(tmp_path: Path) -> None:
    characters = read(tmp_path, "## a\t-\n" + rows("B_PS E_PS O S_LC", words=list("지우는숲")))
    assert (characters.unit, characters.scheme) == ("character", "BIOES")
    assert found(characters) == [("PS", "지우"), ("LC", "숲")]
    lines = read(tmp_path, f"{' '.join(WORDS)}\tB-PS L-PS O B-LC I-LC L-LC U-LC O O\n")
    assert (lines.unit, lines.scheme, found(lines)) == ("word", "BILOU", ENTITIES)


def test_read_dataset_bare_types_are_named_as_such(tmp_path: Path) -> None:
    dataset = read(tmp_path, rows("PS PS O LC LC LC O O O"))
    assert (dataset.scheme, found(dataset)) == ("bare types", ENTITIES[:2])


def test_read_dataset_last_that_continues_nothing_is_counted(tmp_path: Path) -> None:
    dataset = read(tmp_path, "지우\tE-PS\n강릉\tS-LC\n바다\tI-LC\n")
    assert dataset.sentences[0].tags == ("B-PS", "B-LC", "B-LC")
    assert [detail.split(": ")[0] for detail in dataset.problems["ill_formed_tag"]] == [
        f"{dataset.path}:1", f"{dataset.path}:3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("B-PS O PS-I", r": the tags 'B-PS' \(line 1\) and 'PS-I' \(line 3\) are of two schemes"),
        ("B-PS O PS", r": the tags 'B-PS' \(line 1\) and 'PS' \(line 3\) are of two schemes"),
        ("B_PS O PS", r": the tags 'B_PS' \(line 1\) and 'PS' \(line 3\) are of two schemes"),
        ("O PS PS_I", r": the tags 'PS' \(line 2\) and 'PS_I' \(line 3\) are of two schemes"),
        ("O S-PS U-LC", r": the tags 'S-PS' \(line 2\) and 'U-LC' \(line 3\) are of two schemes"),
        ("B-PS E-PS L-LC", r": the tags 'E-PS' \(line 2\) and 'L-LC' \(line 3\) are of two"),
        ("I-PS M-PS O", r": the tags 'I-PS' \(line 1\) and 'M-PS' \(line 2\) are of two"),
        ("B-PS O B:PS", r":3: the tag 'B:PS' fits no scheme"),
        ("O O X-PS", r":3: the tag 'X-PS' fits no scheme"),
        ("O B- I-PS", r":2: the tag 'B-' fits no scheme"),
        ("O B-PS|B-LC O", r":2: the tag 'B-PS\|B-LC' fits no scheme"),
        ('B-P"S O O', r""":1: the tag 'B-P"S' fits no scheme"""),
        ("O O-B O", r":2: the tag 'O-B' fits no scheme"),
        ("O B-O O", r":2: the tag 'B-O' fits no scheme"),
        ("O 1 2", r":2: the tag '1' fits no scheme"),
        ("BPS IPS O", r":2: the tags 'BPS' and 'IPS' need a hyphen after the mark: B-PS, I-PS\."),
    ],
)
def test_read_dataset_tags_of_no_or_two_schemes_are_refused(
    tags: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"tags\.txt{message}") as error:
        read(tmp_path, rows(tags, words=["지우", "강릉", "바다"]))
    assert "\n" not in str(error.value)


def test_read_dataset_parts_of_speech_are_no_types(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"txt:1: in the whole file no tag is O, .* NNP, JX\. "):
        read(tmp_path, "지우\tNNP\n는\tJX\n", "conll")
    with pytest.raises(ValueError, match=r"the tags stand in column 2 of 3; .* but has 'NNP'\."):
        read(tmp_path, "지우 B-PS NNP\n는 O JX\n")


@pytest.mark.parametrize(
    "header",
    ["word\ttag", "token\tlabel", "단어\t태그", "Tokens\tNER_Tags", "문장\t개체명", "글자\t정답",
     "word\tgold"],
)  # fmt: skip
@pytest.mark.parametrize("tags", [BIO, "PS PS O LC LC LC O O O"])
def test_read_dataset_header_is_no_token(header: str, tags: str, tmp_path: Path) -> None:
    content = rows(tags)
    dataset = read(tmp_path, f"{header}\n{content}\n{header}\n{content}")  # two files joined
    assert [sentence.text for sentence in dataset.sentences] == [" ".join(WORDS)] * 2
    assert dataset.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")


def test_read_dataset_header_of_other_forms_is_no_sentence(tmp_path: Path) -> None:
    lines = read(tmp_path, f"문장\t개체명\n{' '.join(WORDS)}\t{BIO}\n")
    assert [sentence.text for sentence in lines.sentences] == [" ".join(WORDS)]
    characters = read(tmp_path, "글자\t태그\n지\tB-PS\n우\tI-PS\n")
    assert (characters.unit, found(characters)) == ("character", [("PS", "지우")])


def test_read_dataset_header_says_which_columns_to_read(tmp_path: Path) -> None:
    content = "id\tword\tner\tpos\n7\t지우\tB-PS\tNNP\n8\t는\tO\tJX\n"
    dataset = read(tmp_path, content)
    assert (dataset.sentences[0].text, found(dataset)) == ("지우 는", [("PS", "지우")])


@pytest.mark.parametrize("ids", [("1", "1", "2", "2"), ("Sentence: 1", "", "Sentence: 2", "")])
def test_read_dataset_header_says_what_numbers_the_sentences(
    ids: tuple[str, ...], tmp_path: Path
) -> None:
    lines = [f"{i}\t{row}" for i, row in zip(ids, ("한\tB-PS", "간다\tO") * 2, strict=True)]
    dataset = read(tmp_path, "\n".join(["Sentence #\tWord\tTag", *lines]))
    assert [sentence.text for sentence in dataset.sentences] == ["한 간다"] * 2


def test_read_dataset_numbers_are_no_tokens(tmp_path: Path) -> None:
    message = r"txt: the first column has numbers only, such as '1'; a first line must name the"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "1\t한\tB-PS\n1\t간다\tO\n2\t숲\tO\n")


@pytest.mark.parametrize("comment", ["// 문장1", "% 문장", ";; 하나"])
def test_read_dataset_other_comments_are_named_with_their_line(
    comment: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"txt: the tags '\w+' \(line 1\) and 'B-PS' \(line 2\)"):
        read(tmp_path, f"{comment}\n한\tB-PS\n간다\tO\n")


def test_read_dataset_types_that_may_be_mistyped_are_named(tmp_path: Path) -> None:
    dataset = read(tmp_path, "한\tB-PS\n솔\tB-ps\n간다\tO\n")
    what = "the type 'ps', but 'PS' before; they are two"
    assert dataset.problems == {"similar_types": [f"{dataset.path}:2: {what}"]}
    dataset = read(tmp_path, "한솔\tB-PS\n간다\tO\n" * 50 + "하나\tB-PA\n")
    what = "the only entity of the type 'PA'"
    assert dataset.problems == {"rare_type": [f"{dataset.path}:101: {what}"]}


@pytest.mark.parametrize("tags", ["B-S I-S O", "S-B S-I O"])
def test_read_dataset_type_may_look_like_a_mark(tags: str, tmp_path: Path) -> None:
    assert found(read(tmp_path, rows(tags, words=["한", "솔", "간다"]))) == [("S", "한 솔")]


@pytest.mark.parametrize("kind", ["OS", "OB", "O-", "PS_NAME", "AF.B", "사람·동물"])
def test_read_dataset_type_may_be_almost_anything(kind: str, tmp_path: Path) -> None:
    for tag in (f"B-{kind}", f"{kind}_B"):
        dataset = read(tmp_path, f"한솔\t{tag}\n간다\tO\n")
        assert found(dataset) == [(kind, "한솔")], tag


def test_read_dataset_word_that_is_a_name_of_columns_is_a_token(tmp_path: Path) -> None:
    for content in ("단어 O\n지우 B-PS\n", "단어 PS\n지우 PS\n는 O\n"):
        assert read(tmp_path, content).sentences[0].text.startswith("단어 지우")


@pytest.mark.parametrize("comment", ["# 문장 하나", "#하나", "## 1", "# sent_id = 1", "## 1\t글월"])
@pytest.mark.parametrize("between", ["\t", " "])
def test_read_dataset_comment_is_no_token(comment: str, between: str, tmp_path: Path) -> None:
    sentence = f"{comment}\n{rows(BIO, between)}"
    for end in ("\n", ""):  # without empty lines, the comments separate the sentences
        dataset = read(tmp_path, f"{sentence}{end}" * 2)
        assert found(dataset) == ENTITIES * 2 and len(dataset.sentences) == 2
        assert dataset.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")


@pytest.mark.parametrize("between", ["\t", " "])
def test_read_dataset_hash_with_a_tag_is_a_token(between: str, tmp_path: Path) -> None:
    dataset = read(tmp_path, rows("O B-PS O", between, ["#", "#지우", "온다"]))
    assert (dataset.sentences[0].text, found(dataset)) == ("# #지우 온다", [("PS", "#지우")])


def test_read_dataset_comments_of_characters_and_sentences(tmp_path: Path) -> None:
    dataset = read(tmp_path, "# 하나\n지\tB-PS\n우\tI-PS\n#\tO\n\n# 둘\n숲\tB-LC\n")
    assert [sentence.text for sentence in dataset.sentences] == ["지우#", "숲"]
    dataset = read(tmp_path, "# 하나\n#지우 씨\tB-PS O\n## 둘\n강릉 앞\tB-LC O\n")
    assert [sentence.text for sentence in dataset.sentences] == ["#지우 씨", "강릉 앞"]


@pytest.mark.parametrize("between", ["\t", " "])
def test_read_dataset_numbered_rows_give_the_words(between: str, tmp_path: Path) -> None:
    lines = [f"{i}{between}{w}{between}NNP{between}O\n" for i, w in enumerate(["지우", "간다"])]
    dataset = read(tmp_path, "".join(lines) + "\n" + "".join(lines))
    assert [sentence.text for sentence in dataset.sentences] == ["지우 간다"] * 2


KMOU = """\
## 1
## 한 지우는 갔다.
## <한 지우:PS>는 갔다.
한	한	NNP	B-PS
_	_	_	{}
지우	지우	NNP	I-PS
는	는	JX	O
_	_	_	O
갔	가+았	VV+EP	O
다	다	EF	O
.	.	SF	O

## 2
## 숲
숲	숲	NNG	B-LC
"""


@pytest.mark.parametrize("gap", ["O", "I-PS"])
@pytest.mark.parametrize("file_format", ["auto", "kmou"])
def test_read_dataset_kmou_morphemes_make_the_text(
    gap: str, file_format: FileFormat, tmp_path: Path
) -> None:
    dataset = read(tmp_path, KMOU.format(gap), file_format)
    first, second = dataset.sentences
    assert (dataset.unit, first.text, second.text) == ("morpheme", "한 지우는 갔다.", "숲")
    assert first.starts == (0, 2, 4, 6, 7, 8) and first.ends == (1, 4, 5, 7, 8, 9)
    assert first.spans(first.tags) == [Entity("PS", 0, 4)]
    assert dataset.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")
    assert dataset.problems == {}
