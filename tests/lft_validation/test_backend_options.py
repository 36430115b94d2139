"""``--backend`` and ``--device`` of the commands that compute."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from click.testing import CliRunner

from lft_backends import backend as module
from lft_backends.backend import get_backend
from lft_ref import REFERENCE
from lft_validation.cli import main
from lft_validation.gradcheck.builtin import Setting, build
from lft_validation.gradcheck.there import There, on
from lft_validation.victims import load_victim
from tests.libraries import LIBRARIES, usable

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="torch is not installed: pip install 'lft-ref[torch]'",
)


def lft(*arguments: object):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    out = tmp_path_factory.mktemp("vectors")
    assert lft("vectors", "make", "--out", out, "--count", 4).exit_code == 0
    return sorted(out.glob("*.npz"))


@pytest.mark.parametrize("backend", ["strict", "numba", pytest.param("torch", marks=needs_torch)])
def test_vectors_made_by_the_reference_are_checked_on_another_backend(vectors, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    result = lft("vectors", "check", "--backend", backend, *vectors)
    assert result.exit_code == 0, result.output
    assert "4 of 4 agree" in result.output


def test_a_backend_that_is_wrong_is_caught_by_the_vectors(vectors, monkeypatch):
    def wrong(*arguments):
        delta, state = REFERENCE.step(*arguments)
        return 1.001 * delta, state

    reference = module.get_backend()._replace(ops=REFERENCE._replace(step=wrong))
    monkeypatch.setitem(module.BACKENDS, "numba", lambda *_: reference)
    result = lft("vectors", "check", "--backend", "numba", *vectors)
    assert result.exit_code == 1
    assert "differs from adjoint and forward_mode" in " ".join(result.output.split())


FIRST = ("--estimator", "first_order", "--preprocess", "log_sign")


ON_ARRAYS_OF_ITS_OWN = [
    pytest.param("strict", "quadratic"),
    pytest.param("strict", "attack-relu"),
    pytest.param("torch", "classes-tanh"),
    pytest.param("jax", "quadratic", marks=pytest.mark.jax),
    pytest.param("cupy", "sine-relu", marks=pytest.mark.gpu),
    pytest.param("cupy", "fewshot-cnn", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize(
    ("backend", "task"),
    [*(("numba", t) for t in ("sine-relu", "fewshot-cnn", "attack-relu")), *ON_ARRAYS_OF_ITS_OWN],
)
def test_the_twins_of_a_backend_are_checked_term_by_term(backend, task):
    if backend == "jax":
        pytest.importorskip("jax")
        LIBRARIES["jax"]()  # with 64-bit numbers
    usable(backend)
    result = lft("gradcheck", task, *FIRST, "--backend", backend)
    assert result.exit_code == 0, result.output
    assert "all 2 gradients are right" in result.output


@pytest.mark.parametrize("how", ["first_order", "zeroth_order"])
def test_losses_and_cells_are_computed_where_the_backends_arrays_are(how):
    pytest.importorskip("array_api_strict")
    backend, kinds = get_backend("strict"), []

    def seen(*arguments):
        kinds.append(type(arguments[2]))
        return REFERENCE.step(*arguments)

    problem = build(Setting("sine-tanh", how, "log_sign", True), 0, 0)
    there = on(problem, backend._replace(ops=REFERENCE._replace(step=seen)))
    assert isinstance(there.task.objective, There)
    theta, train = problem.task.theta_0, problem.task.train
    for name in ("value", "grad"):
        found = getattr(there.task.objective, name)(theta, train)
        right = getattr(problem.task.objective, name)(theta, train)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, right, rtol=1e-12)
    delta, _ = there.pieces.step(problem.params, problem.tuner.cell, theta, problem.state_0)
    assert isinstance(delta, np.ndarray)
    assert kinds == [type(backend.asarray(theta))]


def test_a_twin_that_is_wrong_is_named_with_its_step(monkeypatch):
    def wrong(*arguments):
        params_bar, g_bar, state_bar = REFERENCE.vjp(*arguments)
        return params_bar, 1.001 * g_bar, state_bar

    twins = module.get_backend()._replace(ops=REFERENCE._replace(vjp=wrong))
    monkeypatch.setitem(module.BACKENDS, "numba", lambda *_: twins)
    result = lft("gradcheck", "quadratic", *FIRST, "--backend", "numba")
    assert result.exit_code == 1
    assert "ḡ at step" in " ".join(result.output.split())


@needs_torch
def test_a_victim_can_be_trained_on_another_backend(tmp_path):
    for backend in ("numpy", "torch"):
        out = tmp_path / f"{backend}.npz"
        result = lft(
            "victims", "train", "digits", "--epochs", 1, "--backend", backend, "--out", out
        )
        assert result.exit_code == 0, result.output
    ours, theirs = (load_victim(str(tmp_path / f"{b}.npz")) for b in ("numpy", "torch"))
    assert not np.array_equal(ours.weights, np.zeros_like(ours.weights))
    # One epoch of Adam from the same start on the same minibatches: rounding apart.
    scale = np.abs(ours.weights).max()
    assert np.median(np.abs(ours.weights - theirs.weights)) < 1e-4 * scale


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vectors", "check", "--backend", "abacus"), "unknown backend 'abacus'; choose one of"),
        (("vectors", "check", "--device", "gpu"), "numpy backend has one device, 'cpu', found"),
        (("signal", "--device", "gpu"), "numpy backend has one device, 'cpu', found 'gpu'"),
        (("victims", "train", "digits", "--backend", "abacus"), "unknown backend 'abacus'"),
        (("theorem1", "--backend", "abacus"), "backend must be one of numpy, numba"),
        (("gradcheck", "--backend", "abacus"), "unknown backend 'abacus'; choose one of"),
        (("gradcheck", "--device", "1"), "--device 1 needs --backend"),
        (("gradcheck", "--plant", "list", "--device", "1"), "--device does nothing beside --plant"),
    ],
)
def test_a_wrong_backend_is_answered_in_one_sentence(vectors, arguments, message):
    files = vectors[:1] if "vectors" in arguments else ()
    result = lft(*arguments, *files)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
