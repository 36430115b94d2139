"""The claims of the few-shot tables: which way they are judged, and what the paper has beside."""

from __future__ import annotations

import pytest

from lft_validation.experiments.fewshot import claims as claims_module
from lft_validation.experiments.fewshot.claims import Cell, claims
from lft_validation.experiments.fewshot.config import make_config
from lft_validation.experiments.fewshot.printed import cells, difference, row_of
from lft_validation.experiments.fewshot.report import summarise
from lft_validation.report import read_paper
from tests.lft_validation.fewshot_results import made_up


def test_claims_are_judged_in_the_direction_that_is_better():
    config = make_config("table2", "paper", {"seeds": (0,), "test_tasks": 40})
    judged = claims(config, made_up(config))
    assert {c["verdict"] for c in judged} == {"holds"}
    # nine cells: two kinds of L2O and two rules by hand; in two of them MAML and FOMAML besides
    # each judged by accuracy and by loss
    assert len(judged) == 2 * (9 * 4 + 2 * 2)
    assert {c["margin"] for c in judged if "matches" in c["claim"]} == {0.01}
    assert [c["of_the_paper"] for c in judged if c["claim"] == "LFT > Adam"] == [False] * 9
    assert {c["verdict"] for c in claims(config, made_up(config, -0.5))} == {"fails"}


def test_less_loss_is_judged_beside_accuracy_and_is_no_claim_of_the_paper():
    config = make_config("table2", "paper", {"seeds": (0,), "test_tasks": 40})
    results = made_up(config)
    for cell, curves in results.items():
        if cell.method == "LFT":  # less accurate, with less loss
            curves[0][0] -= 0.5
    judged = [c for c in claims(config, results) if c["versus"] == "L2O"]
    by_metric = {m: [c for c in judged if c["metric"] == m] for m in ("accuracy", "loss")}
    assert {c["verdict"] for c in by_metric["accuracy"]} == {"fails"}
    assert {c["verdict"] for c in by_metric["loss"]} == {"holds"}
    assert {c["difference"]["mean"] < 0 for c in by_metric["loss"]} == {True}
    assert not any(c["of_the_paper"] for c in by_metric["loss"])
    assert {difference(c, read_paper("table2"), {}) for c in by_metric["loss"]} == {None}


@pytest.mark.parametrize("table", ["table2", "tableA1", "tableA2"])
def test_a_claim_that_is_worded_otherwise_is_the_same_claim(table, monkeypatch):
    config = make_config(table, "paper", {"seeds": (0,), "test_tasks": 4})
    results = made_up(config)
    before = claims(config, results)
    assert {c["versus"] for c in before} == {*config.methods} - {"LFT"}
    for name in ("MORE", "MATCHES", "LESS_LOSS"):
        monkeypatch.setattr(claims_module, name, "{} is what it is compared with here")
    monkeypatch.setattr(claims_module, "GROWS", "with {2} shots instead of {1}, the gain over {0}")
    after = claims(config, results)
    assert [c["claim"] for c in after] != [c["claim"] for c in before]
    assert [c | {"claim": ""} for c in after] == [c | {"claim": ""} for c in before]


def test_lft_matches_maml_within_a_margin_of_one_point():
    config = make_config("table2", "paper", {"seeds": (0,), "test_tasks": 40})
    results = made_up(config, better=-0.005 * 5)
    judged = {c["claim"]: c for c in claims(config, results)}
    assert judged["LFT matches MAML"]["verdict"] == "holds"
    assert judged["LFT matches MAML"]["difference"]["mean"] == pytest.approx(-0.005, abs=0.003)
    assert judged["LFT > L2O"]["verdict"] == "fails"
    config = make_config("tableA2", "paper", {"seeds": (0,), "test_tasks": 40})
    judged = {c["claim"]: c for c in claims(config, made_up(config, better=-0.005 * 5))}
    assert judged["LFT > MAML"]["verdict"] == "fails"


def test_a_claim_about_cells_that_the_paper_does_not_print_is_not_the_papers():
    config = make_config("table2", "paper", {"seeds": (0,), "test_tasks": 40})
    judged = claims(config, made_up(config), {("cifar10", "mnist", 5)})
    assert {(c["training"], c["testing"]) for c in judged if c["of_the_paper"]} == {
        ("cifar10", "mnist")
    }


@pytest.mark.parametrize(
    ("table", "changes", "rows", "claimed"),
    [
        ("table2", {}, True, True),
        ("table2", {"shots": 1}, False, False),
        ("table2", {"ways": 5}, False, False),
        ("tableA1", {"shots": (1, 2)}, True, True),
        ("tableA1", {"shots": (2, 4)}, False, False),
        ("tableA2", {"ways": 2}, False, False),
        ("figure3", {}, False, True),
        ("figure3", {"training": "mnist", "testing": "mnist"}, False, False),
        ("figure3", {"shots": 10}, False, False),
    ],
)
def test_the_papers_numbers_stand_beside_its_own_setting_alone(table, changes, rows, claimed):
    config = make_config(table, "paper", {"seeds": (0,), "test_tasks": 8} | changes)
    summary = summarise(config, made_up(config), {})
    assert any(row["paper"] for row in summary["rows"]) == rows
    assert any(claim["of_the_paper"] for claim in summary["claims"]) == claimed
    beside = [c for c in summary["claims"] if c["paper"] is not None]
    assert all(c["shots"] in (1, 3, 5, 10, None) for c in beside)
    assert bool(beside) == rows


def test_a_unions_interval_draws_each_source_again_by_itself():
    config = make_config("table2", "paper", {"seeds": (0, 1), "test_tasks": 40})
    results = {cell: [c[0], c[0].copy()] for cell, c in made_up(config).items()}
    cell = Cell("mnist+cifar10", "LFT", "mnist+cifar10", 5)
    for curves in results[cell]:
        curves[:, 20:] -= 0.4  # the second source is harder, which is no accident
    summary = summarise(config, results, {})
    names = ("training", "method", "testing", "shots")
    row = next(r for r in summary["rows"] if Cell(*(r[n] for n in names)) == cell)
    low, high = row["interval_tasks"]
    assert low < row["at"]["40"]["accuracy"] < high
    assert high - low < 0.01


def test_the_gain_over_l2o_is_compared_between_numbers_of_shots():
    config = make_config("tableA1", "paper", {"test_tasks": 20})
    judged = [c for c in claims(config, made_up(config)) if c["claim"].startswith("gain")]
    names = [c["claim"] for c in judged if "L2O:" in c["claim"]]
    assert names == [
        f"gain over L2O: {a} > {b} shots" for a, b in ((1, 3), (3, 5), (5, 10), (1, 10))
    ]
    assert {c["verdict"] for c in judged} == {"holds"}
    against = [c for c in claims(config, made_up(config, -0.2)) if c["claim"].startswith("gain")]
    assert {c["verdict"] for c in against} == {"fails"}


def test_figure_3_judges_the_early_steps_too():
    config = make_config("figure3", "paper", {"seeds": (0,), "test_tasks": 40})
    judged = claims(config, made_up(config))
    steps = [c["step"] for c in judged if c["claim"] == "LFT > L2O" and c["testing"] == "mnist"]
    assert steps == [1, 2, 5, 10, 20, config.table_step]
    assert {c["step"] for c in judged if c["claim"] == "LFT > Adam"} == {config.table_step}


def said(table, claim, training, testing, stand_in=None):
    """The paper's difference beside each claim of that name and place."""
    config = make_config(table, "paper", {"seeds": (0,), "test_tasks": 5})
    return [
        difference(c, read_paper(table), stand_in or {})
        for c in claims(config, made_up(config))
        if (c["claim"], c["training"], c["testing"]) == (claim, training, testing)
    ]


def test_the_papers_difference_is_that_of_its_two_numbers():
    there = "mnist+cifar10", "mnist"
    assert said("table2", "LFT > L2O", *there) == pytest.approx([0.83 - 0.81])
    assert said("table2", "LFT > L2O-train", *there) == pytest.approx([0.83 - 0.81])
    assert said("table2", "LFT matches MAML", "cifar10", "cifar10") == [0.0]
    assert said("table2", "LFT > Adam", *there) == [None]
    assert said("table2", "LFT > L2O", "mnist", "mnist") == [None]  # a row of our own
    assert said("figure3", "LFT > L2O", *there) == [None] * 6  # curves


def test_the_papers_gain_of_each_number_of_shots_and_how_it_grows():
    there = "cifar10", "cifar10"
    gains = {1: 0.18, 3: 0.08, 5: 0.03, 10: 0.02}
    assert said("tableA1", "LFT > L2O", *there) == pytest.approx([*gains.values()])
    for few, many in ((1, 3), (3, 5), (5, 10), (1, 10)):
        found = said("tableA1", f"gain over L2O: {few} > {many} shots", *there)
        assert found == pytest.approx([gains[few] - gains[many]])


def test_numbers_of_a_stood_in_source_stand_beside_it_and_are_not_its_claims():
    paper, stand_in = read_paper("tableA2"), {"miniimagenet": "cifar10"}
    beside = row_of(Cell("omniglot", "L2O", "cifar10", 5), paper, stand_in)
    assert beside == {"accuracy": 0.17, "sd": 0.018}
    assert row_of(Cell("omniglot", "L2O", "cifar10", 5), paper, {}) is None
    assert cells(paper, stand_in) == {("omniglot", "omniglot", 5)}
    assert ("omniglot", "miniimagenet", 5) in cells(paper, {})
