from pathlib import Path
from typing import Any

import pytest

from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features, WindowConfig, build_features
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.user_dictionary import compile_user_dictionary
from bert_ko.tokenization.vocabulary import Vocabulary
from tests.small_data import write_questions

LONG = " ".join(
    f"{year}년 봄에 마을 사람들이 다리를 놓고 나무 {year - 1900}그루를 심었다."
    for year in range(1950, 1975)
)
SHORT = "  도서관은\u00a0언덕 위에 있다.  아이들은 토요일마다 책을 빌린다. "
QUESTIONS = [
    (LONG, "q1", "1953년에 심은 나무는 몇 그루인가?", "53그루"),
    (LONG, "q2", "마지막 해는 언제인가?", "1974년"),
    (LONG, "q3", "봄에 무엇을 놓았는가?", "다리"),
    (SHORT, "q4", "도서관은 어디에 있는가?", "언덕 위"),
    (SHORT, "q5", "언제 책을 빌리는가?", "토요일"),
]


@pytest.fixture(scope="session")
def squad_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of five questions; one context is longer than a window."""
    path = tmp_path_factory.mktemp("squad") / "questions.json"
    write_questions(path, QUESTIONS)
    return path


@pytest.fixture(scope="session")
def squad(squad_path: Path) -> Dataset:
    return read_dataset(str(squad_path))


@pytest.fixture(scope="session")
def window_config() -> WindowConfig:
    return WindowConfig(max_seq_length=96, doc_stride=32, max_query_length=24)


@pytest.fixture(scope="session")
def squad_features(squad: Dataset, tokenizer: Tokenizer, window_config: WindowConfig) -> Features:
    return build_features(squad, tokenizer, window_config)


@pytest.fixture(scope="session")
def user_dictionary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compiled MeCab dictionary of one name, which ends as a word with a josa does."""
    path = str(tmp_path_factory.mktemp("dictionary") / "user.dic")
    compile_user_dictionary({"하늘가람의": -5000}, path)
    return path


# A small dataset, and pieces that do not hang on MeCab's dictionary

HILL = "마을 도서관은 언덕 위에 있다. 강가에 언덕 있다."
HILL_PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "마을", "도서관", "##은", "언덕", "위에"),
    *("있", "##다", ".", "강가에", "무엇", "##인가", "?", "종이배", "##가"),
)


@pytest.fixture(scope="session")
def blanks() -> Tokenizer:
    """A tokenizer for which blanks alone part words."""
    config = TokenizerConfig("wordpiece", "morpheme", normalization="google")
    return Tokenizer(Vocabulary(HILL_PIECES), config, fingerprint="0123")


def squad_flags(folder: Path, **values: Any) -> SquadFlags:
    known: dict[str, Any] = {
        "vocab_file": "v", "bert_config_file": "c", "output_dir": str(folder), "do_predict": True,
        "predict_file": "p", "max_seq_length": 24, "max_query_length": 8, "doc_stride": 4,
    }  # fmt: skip
    return SquadFlags(**{**known, **values})


def write_hill(folder: Path, golds: dict[str, str | None], name: str = "questions.json") -> str:
    """Questions by id; None for one that is impossible, "" for one whose answer is unknown."""
    changes = {
        qas_id: {"is_impossible": gold is None, **({} if gold else {"answers": []})}
        for qas_id, gold in golds.items()
    }
    asked = [(HILL, qas_id, "무엇인가?", gold or "") for qas_id, gold in golds.items()]
    return write_questions(folder / name, asked, "1.1", **changes)
