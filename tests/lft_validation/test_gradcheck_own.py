"""A user's own task and pieces: right ones pass, mistakes are named, nonsense is told."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.gradcheck import assert_gradients
from lft_validation.gradcheck.builtin import Setting
from lft_validation.gradcheck.load import load
from lft_validation.gradcheck.memory import memory_bytes
from lft_validation.gradcheck.rows import own_problem, quiet_check

DOCS = (Path(__file__).parents[2] / "docs" / "gradient_checking.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"<!-- own-task -->\n```python\n(.*?)```", DOCS, re.DOTALL)[1]
TEST = re.search(r"<!-- own-test -->\n```python\n(.*?)```", DOCS, re.DOTALL)[1]
ONE = ("--estimator", "first_order", "--preprocess", "identity")  # enough for most of this


def lft(*arguments):
    result = CliRunner().invoke(main, ["gradcheck", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def words(output):
    return " ".join(output.split())


@pytest.fixture
def file(tmp_path):
    """Write the example with some of its text replaced; return ``path:Robust``."""

    def write(old="", new=""):
        assert old in EXAMPLE
        path = tmp_path / "robust.py"
        path.write_text(EXAMPLE.replace(old, new) if old else EXAMPLE, encoding="utf-8")
        return f"{path}:Robust"

    return write


def without(text, start):
    """The example up to a method."""
    return text[: text.index(start)]


def test_the_example_of_the_docs_passes(file):
    code, output = lft(file())
    assert code == 0, output
    assert "all 4 gradients are right" in output
    assert max(map(len, output.splitlines())) <= 80
    assert EXAMPLE.count("\n") <= 25


def test_the_test_of_the_docs_runs(tmp_path):
    path = tmp_path / "test_robust.py"
    path.write_text(EXAMPLE + TEST, encoding="utf-8")
    load(f"{path}:test_gradients")()


def test_a_wrong_sign_in_one_block_of_the_hvp_is_named(file):
    hvp = EXAMPLE[EXAMPLE.index("def hvp") :]
    code, output = lft(file(hvp, hvp.replace("r @ x, np.sum", "-(r @ x), np.sum")), *ONE)
    assert code == 1
    assert "The first wrong term is ∂g/∂θ at step 1" in words(output)
    assert "have the wrong sign; look at the objective's hvp" in words(output)
    assert re.search(r"row W\[\d, 0\], column", words(output))
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("wrong", ["0.5 * np.sum(r))", "np.nan)"])
def test_a_wrong_gradient_of_one_bias_is_named(file, wrong):
    grad = EXAMPLE[EXAMPLE.index("def grad") : EXAMPLE.index("def hvp")]
    code, output = lft(file(grad, grad.replace("np.sum(r))", wrong)), *ONE)
    assert code == 1
    assert re.search(r"The first wrong term is g at step 1.*: b\[0\] is", words(output))


def test_a_value_alone_is_enough(file, tmp_path):
    spec = file()
    path = tmp_path / "robust.py"
    path.write_text(without(EXAMPLE, "    def grad"), encoding="utf-8")
    assert lft(spec, *ONE)[0] == 0


def test_differences_stand_in_where_autograd_cannot_read_the_value(file):
    unreadable = "        theta = [float(t) for t in theta]\n        return np.sum("
    code, output = lft(file("        return np.sum(", unreadable), *ONE)
    assert code == 0, output
    assert "Allowed: 1e-05" in words(output)


def test_a_kink_of_the_loss_is_reported_with_its_coordinate(file, tmp_path):
    spec = file()
    text = without(EXAMPLE, "    def grad")
    text = text.replace("rng.normal(size=3)", "np.array([1.0, 2.0, 0])")
    text = text.replace("+ theta[2] - y)))", "- y))) + np.abs(theta[2])")
    (tmp_path / "robust.py").write_text(text, encoding="utf-8")
    _, output = lft(spec, *ONE)
    assert "Near a kink" in output
    assert "the loss (|·|, max, ReLU, …) at b[0], step 1" in words(output)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("np.sum(np.log", "np.log(np.zeros(2)) + np.sum(np.log", "returns shape (2,)"),
        ("np.sum(np.log(np.cosh", "np.sum(np.log(-np.cosh", "is nan"),
        ("return np.append(r @ x, np.sum(r))", "return r @ x", "shape (2,), expected shape (3,)"),
        ("        return np.sum(", "        1 / 0\n        return np.sum(", "division by zero"),
        ("theta_0 = rng", "theta = rng", "without theta_0"),
        ("rng.normal(size=3)", "rng.normal(size=(3, 1))", "theta_0 must have shape (d,)"),
        ("rng.normal(size=3)", "'three'", "theta_0 is no array of numbers"),
        ("rng.normal(size=3)", "[np.inf, 1, 2]", "theta_0 is not finite"),
        ('"b": (1,)', '"b": (2,)', "parameters name 4 coordinates, theta_0 has 3"),
        ('"b": (1,)', '"b": 1', "parameters must be {name: shape}"),
        ("train, val =", "train, test =", "has no 'val'"),
        ("    theta_0 =", "    def __init__(self):\n        1 / 0\n\n    theta_0 =", "by zero"),
        ("class Robust:", "class Robust", "SyntaxError"),
        ("class Robust:", "import no_such_package\nclass Robust:", "No module named"),
        ("class Robust:", "class Other:", "has no 'Robust'; it has"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_told_in_one_sentence(file, old, new, says):
    code, output = lft(file(old, new), *ONE)
    assert code == 2
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert says in output


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("no_such_task", "unknown task 'no_such_task'; choose one of quadratic"),
        ("no/such/file.py:x", "no/such/file.py is no file"),
        ("no_such_module:x", "No module named 'no_such_module'"),
        ("math:no_such_name", "math has no 'no_such_name'"),
        ("math:pi", "math:pi is of type float, without theta_0"),
        ("file.py:", "'file.py:' names no object"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(spec, says):
    code, output = lft(spec)
    assert code == 2
    assert says in output


def test_the_line_of_an_exception_is_told(file):
    spec = file("        return np.sum(np.log", "        undefined\n        return np.sum(np.log")
    line = 1 + EXAMPLE[: EXAMPLE.index("        return np.sum(np.log")].count("\n")
    code, output = lft(spec, *ONE)
    assert code == 2
    assert f"robust.py, line {line}" in output


def test_what_is_loaded_is_the_object():
    assert load("math:pi") == 3.141592653589793


class Sized:
    """A loss of d parameters."""

    def __init__(self, d=100_000):
        self.theta_0, self.train, self.val = np.linspace(-1, 1, d), np.ones(d), np.full(d, 2.0)

    def value(self, theta, data):
        return anp.sum((anp.tanh(theta) * data - 1.0) ** 2) / len(data)


@pytest.mark.parametrize("d", [10, 20])
def test_the_memory_of_a_check_is_about_what_was_estimated(d):
    setting = Setting("sized", "zeroth_order", "log_sign", second_order=True)
    problem = own_problem(Sized(d), setting)
    tracemalloc.start()
    report = quiet_check(problem, problem, 0)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.passed
    assert 0.8 < found / memory_bytes(problem) < 1.2


def test_a_task_of_too_many_parameters_is_refused():
    with pytest.raises(UserError, match=r"every Jacobian of d = 100000 parameters and needs about"):
        own_problem(Sized(), Setting("sized", "first_order", "identity", second_order=True))


PIECES = """
import numpy as np
import lft_ref

def gradient(theta, data):
    return data.x.T @ (data.x @ theta - data.y) / len(data.y)

def wrong_gradient(theta, data):
    return 2 * gradient(theta, data)

def hvp(theta, data, v):
    return data.x.T @ (data.x @ v) / len(data.y)

def jacobians(*arguments):
    return lft_ref.jacobians(*arguments)

def wrong_jacobians(*arguments):
    J = lft_ref.jacobians(*arguments)
    return J._replace(Pi_h=J.Pi_h.mT)

def vjp(*arguments):
    return lft_ref.vjp(*arguments)

def wrong_vjp(*arguments):
    params_bar, g_bar, state_bar = lft_ref.vjp(*arguments)
    return params_bar, -g_bar, state_bar

def nonsense(*arguments):
    return 1.0

def candidate(vector):
    return {name: vector[name] for name in ("W_x", "W_h", "b", "w_o", "b_o")}
"""


@pytest.fixture
def pieces(tmp_path):
    path = tmp_path / "pieces.py"
    path.write_text(PIECES, encoding="utf-8")
    return lambda name: f"{path}:{name}"


@pytest.mark.parametrize("piece", ["gradient", "hvp", "jacobians", "vjp"])
def test_right_pieces_pass(pieces, piece):
    code, output = lft("quadratic", f"--{piece}", pieces(piece), *ONE)
    assert code == 0, output


@pytest.mark.parametrize(
    ("piece", "says"),
    [
        ("gradient", "The first wrong term is g at step 1"),
        ("jacobians", "The first wrong term is Π_h at step 1"),
        ("vjp", "The first wrong term is ḡ at step 5"),
    ],
)
def test_wrong_pieces_are_named(pieces, piece, says):
    code, output = lft("quadratic", f"--{piece}", pieces(f"wrong_{piece}"), *ONE)
    assert code == 1
    assert says in words(output)


@pytest.mark.parametrize("piece", ["gradient", "hvp", "jacobians", "vjp", "candidate"])
def test_pieces_that_return_nonsense_are_refused(pieces, piece):
    task = () if piece == "candidate" else ("quadratic",)
    code, output = lft(*task, f"--{piece}", pieces("nonsense"), *ONE)
    assert code == 2
    assert output.count("\n") == 1
    code, _ = lft(*task, f"--{piece}", "math:pi", *ONE)
    assert code == 2


def test_the_pytest_helper_fails_with_the_report(file):
    task = load(file())()
    with pytest.raises(AssertionError, match="The first wrong term is g at step 1"):
        assert_gradients(task, gradient=lambda theta, data: -task.grad(theta, data))
