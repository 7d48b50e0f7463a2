"""Equality with sums over all paths in float64, under the backend of KERAS_BACKEND."""

import functools
import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from bert_ko.modeling import crf
from bert_ko.modeling.crf import bio_transitions
from bert_ko.modeling.ops import ops

Array = npt.NDArray[Any]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

IS_JAX = os.environ.get("KERAS_BACKEND") == "jax"
# How losses are traced: TensorFlow on a CPU, and everything else. Shapes that only one test has are
# compiled the cheap way.
MODES = ("xla",) if IS_JAX else ("graph", "xla")
CHEAP = MODES[0]
TAGS, LENGTH = 3, 5
LENGTHS = np.array([5, 3, 1, 0, 4])  # real positions of the rows
LABELS = ("O", "B-PS", "I-PS", "B-LC", "I-LC")
FLOATS = ("emissions", "transitions", "start", "end")


class Problem(NamedTuple):
    """A batch and variables; float32, so that the reference begins with the same numbers."""

    emissions: Array
    transitions: Array
    start: Array
    end: Array
    tags: Array
    mask: Array

    @property
    def lengths(self) -> list[int]:
        return [int(n) for n in self.mask.sum(axis=1)]


def make_problem(
    seed: int = 0, scale: float = 1.5, lengths: Array = LENGTHS, length: int = LENGTH, num: int = 3
) -> Problem:
    """Args: num: tags."""
    rng = np.random.default_rng(seed)
    shapes = ((len(lengths), length, num), (num, num), (num,), (num,))
    floats = [rng.normal(0, scale, shape).astype(np.float32) for shape in shapes]
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    tags = rng.integers(0, num, mask.shape).astype(np.int32) * mask
    return Problem(floats[0], floats[1], floats[2], floats[3], tags, mask)


@functools.cache
def compiled(name: str, mode: str, allowed: Any) -> Any:
    """A function of crf.py, compiled once for each shape: (floats by name, tags, mask) to values.

    With the gradients of log_…, where each row counts as often as its number.
    """

    def compute(floats: dict[str, Any], tags: Any, mask: Any) -> Any:
        variables = crf.Crf(*(floats[name] for name in FLOATS[1:]))
        inputs = (tags, mask) if name == "log_likelihood" else (mask,)
        options = {"allowed": np.array(allowed)} if allowed else {}
        return getattr(crf, name)(floats["emissions"], *inputs, variables, **options)

    def objective(*inputs: Any) -> tuple[Any, Any]:
        values = compute(*inputs)
        return ops.sum(values * ops.arange(1, values.shape[0] + 1, dtype="float32")), values

    if IS_JAX:
        import jax

        return jax.jit(jax.grad(objective, has_aux=True) if name in WANTED else compute)

    import tensorflow as tf

    def differentiate(floats: dict[str, Any], tags: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(floats)
            value, values = objective(floats, tags, mask)
        found = tape.gradient(value, floats)
        return {key: tf.convert_to_tensor(g) for key, g in found.items()}, values

    function = differentiate if name in WANTED else compute
    return tf.function(function, autograph=False, jit_compile=True if mode == "xla" else None)


def run(name: str, problem: Problem, mode: str, allowed: Any = None) -> Any:
    tensors = [ops.convert_to_tensor(value) for value in problem]
    floats = dict(zip(FLOATS, tensors[:4], strict=True))
    return compiled(name, mode, allowed)(floats, *tensors[4:])


def call(name: str, problem: Problem, mode: str = CHEAP, allowed: Any = None) -> Array:
    found = run(name, problem, mode, allowed)
    return np.asarray(found[1] if name in WANTED else found)


def gradients(name: str, problem: Problem, mode: str = CHEAP) -> tuple[Array, dict[str, Array]]:
    """Values [B], and gradients of the sum of row number (from 1) times value."""
    found, values = run(name, problem, mode)
    return np.asarray(values), {key: np.asarray(gradient) for key, gradient in found.items()}


@functools.cache
def all_paths(length: int, num: int) -> Array:
    return np.array([*itertools.product(range(num), repeat=length)], int)


def path_scores(problem: Problem, row: int) -> tuple[Array, Array]:
    """All paths of a row [paths, length] and their scores in float64."""
    emissions, transitions, start, end = (x.astype(float) for x in problem[:4])
    length = problem.lengths[row]
    paths = all_paths(length, len(start))
    if length == 0:
        return paths, np.zeros(1)
    scores = start[paths[:, 0]] + end[paths[:, -1]]
    scores += transitions[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return paths, scores + emissions[row, np.arange(length), paths].sum(axis=1)


def wanted_log_partition(problem: Problem) -> Array:
    rows = range(len(problem.mask))
    return np.array([logsumexp(path_scores(problem, row)[1]) for row in rows])


def wanted_log_likelihood(problem: Problem) -> Array:
    found = []
    for row, length in enumerate(problem.lengths):
        paths, scores = path_scores(problem, row)
        (index,) = np.flatnonzero((paths == problem.tags[row, :length]).all(axis=1))
        found.append(scores[index] - logsumexp(scores))
    return np.array(found)


def wanted_marginals(problem: Problem) -> Array:
    found = np.zeros(problem.emissions.shape)
    for row in range(len(found)):
        paths, scores = path_scores(problem, row)
        probs = np.exp(scores - logsumexp(scores))
        for position, tags in enumerate(paths.T):
            found[row, position] = np.bincount(tags, probs, found.shape[-1])
    return found


def wanted_viterbi(problem: Problem, allowed: Array | None = None) -> Array:
    """Of the best paths, the one that comes first when read from its end."""
    found = np.zeros_like(problem.tags)
    for row, length in enumerate(problem.lengths):
        paths, scores = path_scores(problem, row)
        if allowed is not None and length:
            before = np.pad(paths[:, :-1], ((0, 0), (1, 0)), constant_values=len(allowed) - 1)
            scores = np.where(allowed[before, paths].all(axis=1), scores, -np.inf)
        best = paths[scores == scores.max()]
        found[row, :length] = min(best.tolist(), key=lambda path: path[::-1])
    return found


def wanted_gradients(function: Callable[[Problem], Array], problem: Problem) -> dict[str, Array]:
    """Central differences in float64."""
    weights = np.arange(1, len(problem.mask) + 1)
    found = {}
    for name in FLOATS:
        base = getattr(problem, name).astype(float)
        gradient = np.zeros_like(base)
        for index in np.ndindex(base.shape):
            step = np.zeros_like(base)
            step[index] = 1e-4
            up, down = (function(problem._replace(**{name: base + s})) for s in (step, -step))
            gradient[index] = (weights * (up - down)).sum() / 2e-4
        found[name] = gradient
    return found


WANTED = {"log_partition": wanted_log_partition, "log_likelihood": wanted_log_likelihood}
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0])


def test_log_likelihood_worked_example() -> None:
    # Paths 00, 01, 10, 11 have the weights 1, 2, 3 * 5, 3: from 0 to 1 counts 2, starting
    # with 1 counts 3, from 1 to 0 counts 5.
    problem = Problem(
        emissions=np.zeros((1, 2, 2), np.float32),
        transitions=np.log([[1, 2], [5, 1]]).astype(np.float32),
        start=np.log([1, 3]).astype(np.float32),
        end=np.zeros(2, np.float32),
        tags=np.array([[1, 0]], np.int32),
        mask=np.ones((1, 2), np.int32),
    )
    assert call("log_partition", problem).tolist() == pytest.approx([np.log(21)])
    assert call("log_likelihood", problem).tolist() == pytest.approx([np.log(15 / 21)])
    marginals = call("marginals", problem)[0]
    np.testing.assert_allclose(marginals, np.array([[3, 18], [16, 5]]) / 21, atol=1e-6)
    assert call("viterbi", problem).tolist() == [[1, 0]]


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=15)
@given(seed=seeds, scale=scales)
def test_sums_over_paths_equal_brute_force(mode: str, seed: int, scale: float) -> None:
    problem = make_problem(seed, scale)
    for name, wanted in WANTED.items():
        found = call(name, problem, mode)
        np.testing.assert_allclose(found, wanted(problem), rtol=1e-6, atol=1e-5)
    found = call("marginals", problem, mode)
    np.testing.assert_allclose(found, wanted_marginals(problem), rtol=0, atol=1e-5)
    assert (found[problem.mask == 0] == 0).all()
    np.testing.assert_allclose(found.sum(axis=2), problem.mask, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("constrained", [False, True])
@settings(max_examples=15)
@given(seed=seeds, ties=st.booleans())
def test_viterbi_equals_brute_force(mode: str, constrained: bool, seed: int, ties: bool) -> None:
    problem = make_problem(seed, scale=2)
    if ties:  # small whole numbers, whose sums are exact
        problem = problem._replace(**{n: np.round(getattr(problem, n) / 2) for n in FLOATS})
    rows = ((True, True, False), (True, False, True), (True, True, True), (True, True, False))
    allowed = rows if constrained else None
    wanted = wanted_viterbi(problem, np.array(rows) if constrained else None)
    found = call("viterbi", problem, mode, allowed)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, wanted)


def test_viterbi_of_equal_scores_takes_the_first_tag() -> None:
    problem = make_problem(scale=0)
    assert (call("viterbi", problem) == 0).all()
    # As good: 0 1 and 1 0. The last tag decides.
    transitions = np.array([[0, 1], [1, 0]], np.float32)
    two = make_problem(scale=0, lengths=np.array([2]), length=2, num=2)
    assert call("viterbi", two._replace(transitions=transitions)).tolist() == [[1, 0]]


def is_well_formed(labels: list[str]) -> bool:
    for before, label in zip(["O", *labels], labels, strict=False):
        if label.startswith("I-") and before not in (f"B-{label[2:]}", label):
            return False
    return True


TEMPTED_LENGTHS = np.array([12, 7, 1, 0])


def make_tempting_problem(seed: int, scale: float, is_flat: bool) -> Problem:
    """Emissions that favour labels within an entity, wherever they stand."""
    problem = make_problem(seed, scale, TEMPTED_LENGTHS, length=12, num=5)
    problem = problem._replace(emissions=problem.emissions + np.float32([0, 0, scale, 0, scale]))
    if is_flat:
        problem = problem._replace(transitions=0 * problem.transitions, start=0 * problem.start)
    return problem


@settings(max_examples=30)
@given(seed=seeds, scale=st.sampled_from([1.0, 100.0, 1e4]), is_flat=st.booleans())
def test_viterbi_constrained_never_decodes_ill_formed_labels(
    seed: int, scale: float, is_flat: bool
) -> None:
    problem = make_tempting_problem(seed, scale, is_flat)
    allowed = tuple(map(tuple, bio_transitions(LABELS).tolist()))
    found = call("viterbi", problem, allowed=allowed)
    for row, length in zip(found, TEMPTED_LENGTHS, strict=True):
        assert is_well_formed([LABELS[tag] for tag in row[:length]])
        assert (row[length:] == 0).all()


@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_viterbi_unconstrained_decodes_ill_formed_labels(scale: float) -> None:
    for seed in range(10):
        found = call("viterbi", make_tempting_problem(seed, scale, is_flat=True))
        assert not is_well_formed([LABELS[tag] for tag in found[0]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WANTED)
def test_gradients_equal_differences(name: str, mode: str) -> None:
    problem = make_problem(7)
    values, found = gradients(name, problem, mode)
    wanted = wanted_gradients(WANTED[name], problem)
    np.testing.assert_allclose(values, WANTED[name](problem), rtol=1e-6, atol=1e-5)
    for key, gradient in wanted.items():
        assert np.abs(gradient).max() > 0.1, key
        np.testing.assert_allclose(found[key], gradient, rtol=0, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("garbage", [12345.0, -3e38, np.inf, -np.inf, np.nan])
def test_padding_has_no_influence_and_no_gradient(garbage: float, mode: str) -> None:
    clean = make_problem(9)
    padding = clean.mask == 0
    emissions, tags = clean.emissions.copy(), clean.tags.copy()
    emissions[padding], tags[padding] = garbage, -100
    tags[1, -1] = 99
    dirty = clean._replace(emissions=emissions, tags=tags)
    for name in WANTED:
        values, found = gradients(name, dirty, mode)
        wanted_values, wanted = gradients(name, clean, mode)
        np.testing.assert_array_equal(values, wanted_values)
        for key, gradient in wanted.items():
            np.testing.assert_array_equal(found[key], gradient, err_msg=key)
        assert (found["emissions"][padding] == 0).all()
    for name in ("marginals", "viterbi"):
        np.testing.assert_array_equal(call(name, dirty, mode), call(name, clean, mode))


def test_length_of_the_batch_decides_nothing() -> None:
    short = make_problem(10, scale=3)
    wide = ((0, 0), (0, 35))
    long = short._replace(
        emissions=np.pad(short.emissions, (*wide, (0, 0)), constant_values=7),
        tags=np.pad(short.tags, wide),
        mask=np.pad(short.mask, wide),
    )
    values, found = gradients("log_likelihood", long)
    wanted_values, wanted = gradients("log_likelihood", short)
    np.testing.assert_allclose(values, wanted_values, rtol=0, atol=1e-5)
    found["emissions"] = found["emissions"][:, :LENGTH]
    for key, gradient in wanted.items():
        np.testing.assert_allclose(found[key], gradient, rtol=0, atol=1e-5, err_msg=key)
    for name in ("marginals", "viterbi"):
        tags = call(name, long)
        np.testing.assert_allclose(tags[:, :LENGTH], call(name, short), rtol=0, atol=1e-6)
        assert (tags[:, LENGTH:] == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_positions_are_certain_and_have_no_gradient(mode: str) -> None:
    problem = make_problem(11, lengths=0 * LENGTHS)
    for name in WANTED:
        values, found = gradients(name, problem, mode)
        assert values.tolist() == [0] * len(LENGTHS)
        assert all((gradient == 0).all() for gradient in found.values())
    assert (call("marginals", problem, mode) == 0).all()
    assert (call("viterbi", problem, mode) == 0).all()


def test_batch_of_length_1_is_a_softmax() -> None:
    problem = make_problem(12, lengths=np.array([1, 0, 1]), length=1)
    scores = (problem.emissions[:, 0] + problem.start + problem.end).astype(float)
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) * problem.mask
    np.testing.assert_allclose(call("marginals", problem)[:, 0], probs, rtol=0, atol=1e-6)
    _, found = gradients("log_partition", problem)
    assert (found["transitions"] == 0).all()
    np.testing.assert_allclose(found["end"], probs[0] + 3 * probs[2], rtol=0, atol=1e-5)
    wanted = scores.argmax(axis=1)[:, None] * problem.mask
    assert call("viterbi", problem).tolist() == wanted.tolist()


@pytest.mark.parametrize("dtype", [np.bool_, np.float32])
def test_mask_may_have_any_dtype(dtype: Any) -> None:
    problem = make_problem(13)
    other = problem._replace(mask=problem.mask.astype(dtype))
    for name in ("log_likelihood", "viterbi"):
        np.testing.assert_array_equal(call(name, other), call(name, problem))


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=10)
@given(seed=seeds, forbidden=st.integers(0, 9))
def test_huge_scores_stay_exact(mode: str, seed: int, forbidden: int) -> None:
    """Emissions of 10,000 either way, transitions of -10,000: as many as ``forbidden``."""
    rng = np.random.default_rng(seed)
    problem = make_problem(seed)
    emissions = problem.emissions + rng.choice(np.float32([-1e4, 0, 1e4]), problem.emissions.shape)
    transitions = problem.transitions.copy()
    transitions.flat[rng.permutation(9)[:forbidden]] = -1e4
    problem = problem._replace(emissions=emissions, transitions=transitions)
    for name, wanted in WANTED.items():
        values, found = gradients(name, problem, mode)
        np.testing.assert_allclose(values, wanted(problem), rtol=1e-6, atol=0.01)
        assert all(np.isfinite(gradient).all() for gradient in found.values())
        assert (np.abs(found["emissions"]) <= len(LENGTHS) * (1 + 1e-5)).all()
    found = call("marginals", problem, mode)
    np.testing.assert_allclose(found, wanted_marginals(problem), rtol=0, atol=0.01)
    np.testing.assert_allclose(found.sum(axis=2), problem.mask, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(call("viterbi", problem, mode), wanted_viterbi(problem))


def test_long_rows_of_huge_scores_keep_small_differences() -> None:
    """512 positions of 10,000 sum to 5,120,000, where float32 knows only halves."""
    length, num, unsure = 512, 40, 500
    problem = make_problem(14, 1.0, np.array([length, 300]), length, num)
    emissions, transitions, start, end = (x.astype(float) for x in problem[:4])
    wanted = []
    for row, count in zip(emissions, problem.lengths, strict=True):
        alpha = start + row[0]
        for emission in row[1:count]:
            alpha = np.logaddexp.reduce(alpha[:, None] + transitions, axis=0) + emission
        wanted.append(np.logaddexp.reduce(alpha + end))
    assert min(wanted) > 1000
    np.testing.assert_allclose(call("log_partition", problem), wanted, rtol=2e-6)
    huge = problem.emissions + np.eye(num, dtype=np.float32)[problem.tags] * np.float32(1e4)
    before, tag, after = problem.tags[0, unsure - 1 : unsure + 2]
    moves = problem.transitions[before] + problem.transitions[:, after]
    huge[0, unsure] = -moves  # as good as each other,
    best = (tag + 7) % num
    huge[0, unsure, best] += 0.05  # but for one
    problem = problem._replace(emissions=huge)
    found = call("log_likelihood", problem)[0]
    assert found == pytest.approx(-np.log(num - 1 + np.exp(0.05)), abs=0.005)
    path = problem.tags[0].copy()
    path[unsure] = best
    np.testing.assert_array_equal(call("viterbi", problem)[0], path)


def test_log_likelihood_ascent_learns_the_path() -> None:
    problem = make_problem(16, scale=0)
    for _ in range(60):
        values, found = gradients("log_likelihood", problem)
        problem = problem._replace(
            **{name: getattr(problem, name) + 0.5 * found[name] for name in FLOATS}
        )
    assert values.min() > -0.1
    np.testing.assert_array_equal(call("viterbi", problem), problem.tags)


def test_bio_transitions_inside_follows_only_its_own_kind() -> None:
    found = bio_transitions(LABELS)
    assert found.dtype == bool
    assert found.astype(int).tolist() == [
        [1, 1, 0, 1, 0],  # O
        [1, 1, 1, 1, 0],  # B-PS
        [1, 1, 1, 1, 0],  # I-PS
        [1, 1, 0, 1, 1],  # B-LC
        [1, 1, 0, 1, 1],  # I-LC
        [1, 1, 0, 1, 0],  # the first
    ]


@pytest.mark.parametrize("labels", [["I-인물", "O", "B-인물"], ["B-A-B", "B-A", "I-A", "I-A-B"]])
def test_bio_transitions_any_order_and_name_allows_what_is_well_formed(labels: list[str]) -> None:
    found = bio_transitions(labels)
    for i, j in itertools.product(range(len(labels)), repeat=2):
        pair = [labels[i].replace("I-", "B-"), labels[i], labels[j]]
        assert found[i, j] == is_well_formed(pair)
    assert found[-1].tolist() == [is_well_formed([label]) for label in labels]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["O", "B-PS", "PS-I"], "A BIO label must be O, B-X or I-X with a name X, got 'PS-I'."),
        (["O", "B-"], "got 'B-'."),
        (["o"], "got 'o'."),
        (["O-PS"], "got 'O-PS'."),
        (["O", "B"], "got 'B'."),
        (["O", ""], "got ''."),
        (["O", "B-PS", "O"], "labels must differ from each other, got O, B-PS, O."),
        (["I-PS"], "labels must include O or some B-X, got I-PS."),
        ([], "labels must include O or some B-X, got none."),
    ],
)
def test_bio_transitions_other_labels_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        bio_transitions(labels)
    assert str(error.value).endswith(message)


@pytest.mark.parametrize("allowed", [np.ones((3, 3), bool), np.zeros((4, 3), bool)])
def test_viterbi_constraints_that_fit_nothing_are_our_fault(allowed: Array) -> None:
    with pytest.raises(AssertionError):
        call("viterbi", make_problem(), allowed=tuple(map(tuple, allowed.tolist())))
