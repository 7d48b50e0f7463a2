"""The words of pages: all in Korean that are asked for, and none that nothing asks for."""

import ast
import re
from pathlib import Path

import pytest

from bert_ko.report.korean import KOREAN
from bert_ko.report.languages import ENGLISH, Texts

PACKAGE = Path(__file__).parents[2] / "bert_ko"
NAME = re.compile(r"{(\w*)}")


def test_texts_are_korean_or_as_they_are() -> None:
    korean = Texts("ko")
    assert (korean("Scores"), korean("반 {x}")) == ("점수", "반 {x}")
    assert korean("{count} labels", count="{3}") == "레이블 {3}개"
    assert ENGLISH("{count} labels", count=3) == "3 labels"


def test_texts_of_a_script_are_those_that_it_asks_for() -> None:
    script = 't("better"); kept("worse"); t("{count} errors", { count }); t("Not ours")'
    assert Texts("ko").of_script(script) == {
        "better": "나아짐", "{count} errors": "오류 {count}개",
    }  # fmt: skip
    assert ENGLISH.of_script(script) == {}


def test_korean_has_the_names_of_the_english() -> None:
    for english, korean in KOREAN.items():
        assert sorted(NAME.findall(english)) == sorted(NAME.findall(korean)), english


@pytest.mark.slow
def test_korean_is_asked_for_somewhere() -> None:
    text = ""
    for path in PACKAGE.rglob("*"):
        if path.suffix in (".js", ".html", ".svg"):
            text += path.read_text(encoding="utf-8")
        elif path.suffix == ".py" and path.name != "korean.py":
            tree = ast.parse(path.read_bytes())
            found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
            text += "\n".join(f'"{value}"' for value in found if isinstance(value, str))
    # Put together where they are asked for.
    made = re.compile(
        r"(gold|predicted) (answer|label|entity)|\w+ below|{file}: \w+ of {folder}|type \d|"
        r"{count} (character|word)s"
    )
    kinds = {name.replace("_", " ") for name in re.findall('"([a-z]+(?:_[a-z]+)+)"', text)}
    assert [
        english
        for english in KOREAN
        if f'"{english}"' not in text and english not in kinds and not made.fullmatch(english)
    ] == []
