"""``lft attack --network mine.py:victim``: a victim of the user's own code."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("sklearn")  # the digits

from lft_backends.backend import get_backend
from lft_ref import Data
from lft_validation.attack import Attempt
from lft_validation.attack_images import AttackImages
from lft_validation.attack_picture import CIFAR10, attack_sheet
from lft_validation.cli import main
from lft_validation.commands.attack import _tuner_for
from lft_validation.victims_own import own_victim
from tests.test_readme import block

SHIPPED = """
import numpy as np
from lft_validation.victims import load_victim

shipped = load_victim("digits")


class Same:
    def logits(self, images):
        z = shipped.network.activations(shipped.weights, images)[-1]
        images[:] = 7.0  # it is a copy
        return z

    def vjp(self, images, cotangents):
        xs = shipped.network.activations(shipped.weights, images)
        return shipped.network.x_vjp(shipped.weights, xs, cotangents)


victim = Same()


def black_box(images):
    return victim.logits(images)


def maker():
    return Same()


number = 3
"""


def lft(*arguments):
    return CliRunner().invoke(main, ["attack", *map(str, arguments)])


@pytest.fixture
def mine(tmp_path):
    """A file of a user's own; returns its path and ``:``."""

    def write(code=SHIPPED):
        (tmp_path / "mine.py").write_text(code)
        return f"{tmp_path / 'mine.py'}:"

    return write


def made(tmp_path, name, *arguments, source="digits"):
    result = lft("--source", source, "--classes", "3,8", "--out", tmp_path / name, *arguments)
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / name / "perturbation.npz") as saved:
        thetas = {key: saved[key] for key in saved.files if key not in ("kind", "key")}
    return thetas, json.loads((tmp_path / name / "attack.json").read_text())


@pytest.mark.parametrize("name", ["victim", "Same", "maker"])
@pytest.mark.usefixtures("undrawn")
def test_a_shipped_victim_in_the_users_code_is_attacked_in_the_same_way(tmp_path, mine, name):
    methods = ("--method", "lft,adam,pgd", "--steps", 8)
    ours, report = made(tmp_path, "ours", *methods)
    own, other = made(tmp_path, "own", "--network", mine() + name, "--tuner", "digits", *methods)
    for method, theta in ours.items():
        np.testing.assert_array_equal(own[method], theta)
    assert other["attempts"] == report["attempts"]
    assert other["victim"]["network"].endswith(f"mine.py:{name}")
    assert other["victim"]["source"] is None


@pytest.mark.parametrize("name", ["victim", "black_box"])
@pytest.mark.usefixtures("undrawn")
def test_a_black_box_needs_no_derivative(tmp_path, mine, name):
    asked = ("--order", "zeroth", "--steps", 3)
    ours, _ = made(tmp_path, "ours", *asked)
    own, report = made(tmp_path, "own", "--network", mine() + name, *asked)
    np.testing.assert_array_equal(own["lft"], ours["lft"])
    assert report["attempts"][0]["queries"] == 3 * 4 * (report["how"]["directions"] + 1)


@pytest.mark.parametrize("backend", ["numba", "strict"])
@pytest.mark.usefixtures("undrawn")
def test_other_backends_compute_around_it(tmp_path, mine, backend):
    pytest.importorskip({"numba": "numba", "strict": "array_api_strict"}[backend])
    arguments = ("--network", mine() + "victim", "--steps", 3)
    plain, _ = made(tmp_path, "numpy", *arguments)
    other, _ = made(tmp_path, "other", *arguments, "--backend", backend)
    np.testing.assert_allclose(other["lft"], plain["lft"], atol=1e-5)


def test_images_of_ones_own_may_have_any_size_and_more_than_ten_classes(tmp_path, mine):
    rng = np.random.default_rng(0)
    for label in (2, 11):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(256, size=(5, 9), dtype=np.uint8)
            file = tmp_path / "images" / str(label) / f"{index}.png"
            Image.fromarray(pixels).save(file)
    own = mine(
        "import numpy as np\n"
        "W = np.random.default_rng(0).normal(size=(45, 12))\n"
        "def net(images):\n"
        "    assert images.shape[1:] == (1, 5, 9) and images.dtype == np.float32\n"
        "    assert abs(images).max() <= 0.5\n"
        "    return images.reshape(len(images), 45) @ W\n"
    )
    result = lft("--images", tmp_path / "images", "--network", own + "net", "--order", "zeroth",
                 "--steps", 3, "--out", tmp_path / "out", "--json", "-")  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["tuner"] == "mnist+cifar10" == _tuner_for(None)
    assert report["classes_given"] == [2, 2, 11, 11]
    assert (tmp_path / "out" / "attack.png").exists()
    three = mine("def net(x): return x.reshape(len(x), 45)[:, :3]\n") + "net"
    refused = lft("--images", tmp_path / "images", "--order", "zeroth", "--network", three,
                  "--out", tmp_path / "no")  # fmt: skip
    assert refused.exit_code == 2
    assert "classes must be from 0 to 2, found 2 to 11" in " ".join(refused.output.split())


def test_the_picture_names_cifar_10s_classes_where_the_victim_has_those_and_no_others():
    def sheet(classes, source):
        rng = np.random.default_rng(0)
        W = rng.normal(size=(27, classes)).astype(np.float32)
        network = SimpleNamespace(activations=lambda _, x: [x, x.reshape(len(x), 27) @ W])
        victim = SimpleNamespace(network=network, weights=None, about={"source": None})
        x, y = rng.normal(size=(3, 3, 3, 3)).astype(np.float32), np.zeros(3, np.int64)
        said = (np.full(3, classes - 1),) * 2
        attempt = Attempt("lft", x[0], np.zeros((6, 1)), said, queries=0, counted=(2, 2))
        drawn = AttackImages(Data(x, y), Data(x, y), {"source": source})
        return attack_sheet(victim, drawn, [attempt])

    assert sheet(10, "cifar10").names == CIFAR10
    assert sheet(10, "mnist").names == tuple("0123456789")
    for classes in (2, 12):
        found = sheet(classes, "cifar10")
        assert found.names == tuple(map(str, range(classes)))
        assert found.names[found.strips[-1].predicted[0]] == str(classes - 1)


HEAD = "import numpy as np\n"


@pytest.mark.parametrize(
    ("code", "name", "order", "sentence"),
    [
        (SHIPPED, "number", "zeroth", "is of type int, without logits(images); give an object"),
        (SHIPPED, "nothing", "zeroth", "mine.py has no 'nothing'; it has"),
        (SHIPPED, "black_box", "first", "has no vjp(images, cotangents), which --order first"),
        ("1/0", "net", "zeroth", "failed with ZeroDivisionError: division by zero"),
        ("def net(x): raise OSError('no server')", "net", "zeroth",
         "failed with OSError: no server"),
        ("def net(x): raise SystemExit(3)", "net", "zeroth", "failed with SystemExit: 3"),
        ("def net(x): return x", "net", "zeroth", "(2, 1, 8, 8), expected (2, classes)"),
        ("def net(x): return x[:1].reshape(1, 64)", "net", "zeroth", "returns shape (1, 64)"),
        ("def net(x): return x.reshape(len(x), 64)[:, :1]", "net", "zeroth", "at least 2"),
        ("def net(x): return 'cat'", "net", "zeroth", "returns <U3, expected an array of real"),
        ("def net(x): return x.reshape(len(x), 64)[:, :2]", "net", "zeroth",
         "mine.py:net gives scores for 2 classes, but digits has 10; give images of its classes"),
        ("def net(x): return x.reshape(len(x), 64)[:, :12]", "net", "zeroth",
         "mine.py:net gives scores for 12 classes, but digits has 10; give images of its classes"),
        ("def net(x): return [[1, 2], [3]]", "net", "zeroth", "is no NumPy array"),
        (HEAD + "def net(x): return np.full((len(x), 10), -np.inf)", "net", "zeroth",
         "returns numbers that are not finite, such as the logarithm of a probability of 0"),
        (SHIPPED + "    \nclass Bad(Same):\n    def vjp(self, x, z): return x[:, 0]\n", "Bad",
         "first", "vjp of images of shape (4, 1, 8, 8) returns shape (4, 8, 8), expected (4, 1"),
        (SHIPPED + "    \nclass Bad(Same):\n    def vjp(self, x, z): return z.no\n", "Bad",
         "first", "AttributeError: 'numpy.ndarray' object has no attribute 'no'"),
        (SHIPPED + "    \nclass Bad(Same):\n    def vjp(self, x, z): return x * np.nan\n",
         "Bad", "first", "vjp returns numbers that are not finite"),
        (SHIPPED + "    \ndef maker():\n    raise ValueError('no weights')\n", "maker", "first",
         "maker() failed with ValueError: no weights"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_sentence(tmp_path, mine, code, name, order, sentence):
    spec = mine(code) + name
    result = lft("--source", "digits", "--network", spec, "--order", order, "--steps", 2,
                 "--out", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--network", "m.py:v", "--victim", "digits"), "give one of --victim and --network"),
        (("--network", "m.py:v"), "--network needs --images, or the --source whose images"),
        (("--network", "mnist", "--source", "digits"), "'mnist' names no object; write path/to"),
    ],
)
def test_wrong_usage_is_refused(arguments, sentence):
    result = lft(*arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


def test_a_perturbation_that_ran_away_is_not_shown_to_the_victim(mine):
    victim = own_victim(mine() + "black_box", get_backend(), zeroth=True)
    images = np.full((3, 1, 8, 8), np.nan)
    assert np.isnan(victim.network.activations(victim.weights, images)[-1]).all()


def test_the_pages_black_box_is_attacked(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "own_victims.md"
    (tmp_path / "mine.py").write_text(block("black-box", page.read_text(encoding="utf-8")))
    monkeypatch.chdir(tmp_path)
    command = block("command", page.read_text(encoding="utf-8")).split()
    assert command[:2] == ["lft", "attack"]
    result = lft(*command[2:], "--out", "out")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "attack.json").read_text())
    (only,) = report["attempts"]
    assert only["by_step"]["train"][0] == 0.0
    assert only["at_the_end"]["train"] == 1.0


def test_the_pages_gradient_is_that_of_its_logits(mine):
    pytest.importorskip("torch")
    page = Path(__file__).parents[2] / "docs" / "own_victims.md"
    spec = mine(block("gradient", page.read_text(encoding="utf-8"))) + "Victim"
    network = own_victim(spec, get_backend(dtype="float32"), zeroth=False).network
    rng = np.random.default_rng(0)
    x, v = rng.uniform(-0.5, 0.5, (2, 3, 1, 8, 8)).astype(np.float32)
    y_bar = rng.normal(size=(3, 10)).astype(np.float32)
    slope = (network.activations(None, x + v)[-1] - network.activations(None, x)[-1]) * y_bar
    pulled = network.x_vjp(None, network.activations(None, x), y_bar)
    assert np.sum(pulled * v) == pytest.approx(np.sum(slope), rel=1e-4)  # it is linear
