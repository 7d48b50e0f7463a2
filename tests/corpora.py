"""Small corpora of Korean sentences, and what a run leaves in its folder."""

from __future__ import annotations

import random
from pathlib import Path

from bert_ko.page_flags import REPORT_NAME


def sentences(rng: random.Random, count: int) -> list[str]:
    who = ["이장님은", "우체부는", "막내 고양이는", "솔내마을 아이들은", "옆집 할머니께서는"]
    where = ["느티나무 아래에서", "방앗간 뒤에서", "강가의 돌다리에서", "시장 골목에서"]
    what = ["편지를", "감자 3개를", "낡은 책 한 권을", "파란 자전거를", "BERT 설명서를"]
    did = ["찾았다.", "기다렸습니다.", "고쳐 놓았다.", "팔았어요!", "잃어버렸을까?"]
    return [" ".join(map(rng.choice, (who, where, what, did))) for _ in range(count)]


def text_corpus(documents: int = 60, seed: int = 1) -> str:
    rng = random.Random(seed)
    blocks = ["\n".join(sentences(rng, rng.randint(1, 12))) for _ in range(documents)]
    return "\n\n".join(blocks) + "\n"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too, but for pages, which have a date."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != REPORT_NAME
    }
