"""`lft gradcheck networks`: derivatives at full size, right ones and spoilt ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lft_ref import AttackLoss, Conv2d, Data, NetworkLoss
from lft_ref.networks import Network
from lft_validation.cli import main
from lft_validation.gradcheck import derivatives
from lft_validation.gradcheck.derivatives import check_subject
from lft_validation.gradcheck.plants.images import (
    CotangentToAll,
    MeanNotSum,
    NoMixedTerm,
    TransposedKernel,
)
from lft_validation.gradcheck.subjects import subjects


def lft(*arguments):
    return CliRunner().invoke(main, ["gradcheck", *map(str, arguments)])


@pytest.fixture(scope="module")
def by_name():
    return {subject.name: subject for subject in subjects(1)}


def test_layers_lenet5_and_the_attack_are_right_at_full_size(tmp_path):
    file = tmp_path / "report.json"
    result = lft("networks", "--json", file)
    assert result.exit_code == 0, result.output
    assert "all 26 networks and losses are right" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    report = json.loads(file.read_text())
    assert report["passed"]
    for row in report["networks"]:
        assert max(row["errors"].values()) <= 1e-8
    lenet = next(row for row in report["networks"] if row["name"].startswith("LeNet-5, 3x32x32"))
    assert set(lenet["errors"]) == set(derivatives.WHAT)


def test_what_is_differentiated_is_lenet5_as_it_is_attacked(by_name):
    for name, subject in by_name.items():
        if "LeNet-5" in name or "attack" in name:
            assert subject.network.size in (61706, 62006)
    attacks = [s for s in by_name.values() if isinstance(s.loss, AttackLoss)]
    assert all(s.loss.kappa > 0.0 and s.loss.l1 > 0.0 for s in attacks)
    assert {s.loss.clip for s in attacks} == {True, False}
    for s in attacks:  # every image counts, so its gradient does
        assert s.loss.value(s.theta, s.data) > -s.loss.kappa * len(s.data.y)


@pytest.mark.parametrize(
    ("name", "new"),
    [("convolution 5x5, padding 2", TransposedKernel), ("max pooling", CotangentToAll)],
)
def test_a_spoilt_layer_is_caught_and_its_derivative_named(by_name, name, new):
    subject = by_name[name]
    network = Network(tuple(new(*layer) for layer in subject.network.layers))
    found = check_subject(subject._replace(network=network))
    assert not found.passed
    assert found.conclusion.startswith("The first wrong term is the cotangent of the input (rel")


def test_a_term_of_the_hessian_that_is_dropped_is_caught(by_name):
    subject = by_name["LeNet-5, 1x28x28, tanh, mean"]
    layers = (NoMixedTerm(*a) if isinstance(a, Conv2d) else a for a in subject.network.layers)
    found = check_subject(subject._replace(network=Network(tuple(layers))))
    assert found.conclusion.startswith("The first wrong term is the tangent of the parameters' cot")


def test_a_spoilt_attack_is_caught(by_name):
    subject = by_name["attack on ReLU, clip"]
    found = check_subject(subject._replace(loss=MeanNotSum(*subject.loss)))
    assert "the cotangent of the input" in found.conclusion
    assert found.errors["value"] < 1e-12


def test_a_wrong_shape_is_said():
    text = derivatives._sentence("cot x", np.zeros(3), np.zeros(4), np.inf, 1e-8)
    assert text == "the cotangent of the input has shape (3,) instead of (4,)."


def test_kinks_are_reported_with_their_place(by_name):
    subject = by_name["ReLU"]
    x = subject.data.x.copy()
    x[1, 3] = 1e-9
    (kink,) = check_subject(subject._replace(data=Data(x, subject.data.y))).kinks
    assert kink == "ReLU at unit 3 of layer 1, example 1 (distance 1e-09)"


def test_the_command_fails_and_names_the_network(monkeypatch, by_name):
    subject = by_name["cross-entropy of LeNet-5"]

    class Halved(NetworkLoss):
        def hvp(self, theta, data, v):
            return 0.5 * super().hvp(theta, data, v)

    spoilt = subject._replace(loss=Halved(*subject.loss), name="spoilt")
    monkeypatch.setattr(derivatives, "subjects", lambda seed: iter([by_name["dense"], spoilt]))
    result = lft("networks")
    assert result.exit_code == 1
    assert "1 of 2 wrong." in result.output
    assert "spoilt: The first wrong term is the tangent of the parameters'" in result.output
    assert "it is 0.5 times what it should be" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--estimator", "first_order"), "takes no --estimator"),
        (("--plot", "report.png"), "has none; leave it out"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, sentence, monkeypatch):
    monkeypatch.setattr(derivatives, "subjects", lambda seed: iter([]))
    result = lft("networks", *arguments)
    assert result.exit_code == 2
    assert sentence in result.output
