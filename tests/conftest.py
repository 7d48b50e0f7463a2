"""What several tests share: real data where there is some, small vocabularies, gradients."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from bert_ko.build_vocab import BuildVocabConfig, run
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.user_dictionary import compile_user_dictionary

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("any_machine", deadline=None)
hypothesis.settings.load_profile("any_machine")

# Half the time to compile, in all processes below too; tensors of the tests need no fast code.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# What is compiled is kept for all processes of the tests.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="bert_ko-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ.update(
        TF_XLA_FLAGS=f"--tf_xla_persistent_cache_directory={_cache}/tensorflow",
        JAX_COMPILATION_CACHE_DIR=f"{_cache}/jax",
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )

# Whoever starts the tests in the background may have Ctrl-C ignored, in all processes below.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.pages", "tests.fakes", "tests.small_data", "tests.storage"]

REPOSITORY = Path(__file__).parents[1]
SAMPLE_CORPUS = REPOSITORY / "samples" / "corpus.txt"
SAMPLE_VOCAB_SIZE = 1500

Tensors = Mapping[str, Any]
ValueAndGradients = Callable[[Callable[[Tensors], Any], Tensors], tuple[Any, dict[str, Any]]]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: BERT_KO_DATA, by default shared/data beside the repository."""
    folder = Path(os.environ.get("BERT_KO_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: BERT_KO_DATA names no folder ({folder})")
    return folder


@pytest.fixture(scope="session")
def real_lines(data_folder: Path) -> list[str]:
    """10,000 lines of real text without line ends, spread evenly over all files of pretrain/."""
    paths = sorted(data_folder.glob("pretrain/*.txt"))
    if not paths:
        pytest.skip(f"no real data: no pretrain/*.txt in {data_folder}")
    wanted, lines = 10_000, []
    for number, path in enumerate(paths):
        found = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        share = (wanted - len(lines)) // (len(paths) - number)
        lines += found[:: max(1, len(found) // share)][:share]
    return lines


def build_vocabulary(folder: Path, **flags: object) -> str:
    """Trains a small vocabulary on the sample corpus; returns its folder."""
    values = {"vocab_size": SAMPLE_VOCAB_SIZE, "num_workers": 1, **flags}
    run(BuildVocabConfig(input_file=(str(SAMPLE_CORPUS),), output_dir=str(folder), **values))  # type: ignore[arg-type]
    return str(folder)


@pytest.fixture(scope="session")
def vocab_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a vocabulary of 1,500 pieces from samples/corpus.txt, all flags at defaults."""
    return build_vocabulary(tmp_path_factory.mktemp("vocab") / "mecab")


@pytest.fixture(scope="session")
def wordpiece_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with tokenizer_type=wordpiece."""
    folder = tmp_path_factory.mktemp("vocab") / "wordpiece"
    return build_vocabulary(folder, tokenizer_type="wordpiece")


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with tokenizer_type=sentencepiece, and [NAME] kept whole."""
    folder = tmp_path_factory.mktemp("vocab") / "sentencepiece"
    return build_vocabulary(
        folder, tokenizer_type="sentencepiece", additional_special_tokens=("[NAME]",)
    )


@pytest.fixture(scope="session")
def word_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a vocabulary of 500 morphemes from samples/corpus.txt."""
    folder = tmp_path_factory.mktemp("vocab") / "words"
    return build_vocabulary(folder, words=True, vocab_size=500)


@pytest.fixture(scope="session")
def cased_sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same without case folding: the model changes no character."""
    folder = tmp_path_factory.mktemp("vocab") / "sentencepiece-cased"
    return build_vocabulary(folder, tokenizer_type="sentencepiece", do_lower_case=False)


@pytest.fixture(scope="session")
def tokenizer(vocab_folder: str) -> Tokenizer:
    """The tokenizer of vocab_folder."""
    return load_tokenizer(vocab_folder)


@pytest.fixture(scope="session")
def user_dictionary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compiled MeCab user dictionary of one word: 솔내글방."""
    path = str(tmp_path_factory.mktemp("dictionary") / "user.dic")
    compile_user_dictionary({"솔내글방": -5000}, path)
    return path


@pytest.fixture(scope="session")
def sample_lines() -> list[str]:
    """Lines of samples/corpus.txt, the blank ones left out."""
    return [line for line in SAMPLE_CORPUS.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="session")
def value_and_gradients() -> ValueAndGradients:
    """(function of named tensors to a scalar, the tensors) to (its value, gradients by name)."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        # Compiled whole: one operation after the other takes half as long again.
        return lambda function, tensors: jax.jit(jax.value_and_grad(function))(dict(tensors))

    import tensorflow as tf

    def differentiate(function: Callable[[Tensors], Any], tensors: Tensors) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(tensors)
        gradients = tape.gradient(value, tensors, unconnected_gradients="zero")
        return value, {name: tf.convert_to_tensor(g) for name, g in gradients.items()}

    return differentiate
