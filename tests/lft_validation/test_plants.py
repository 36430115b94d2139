"""Every mistake that can be planted is caught, and the term that is named is the one planted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from lft_validation.gradcheck.catalogue import Line, cosine, hidden, list_lines
from lft_validation.gradcheck.check import check
from lft_validation.gradcheck.plants import AREAS, PLANTS, check_plant, demonstration

DOCS = Path(__file__).parents[2] / "docs" / "gradient_checking.md"


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_mistake_is_caught_and_the_planted_term_is_named_first(name):
    plant, report = PLANTS[name], check_plant(PLANTS[name])
    assert not report.passed
    assert report.first.term == plant.term
    assert report.first.own > report.tolerance  # wrong by itself, not by inheritance
    assert report.first.error > 1e-5  # and not by a hair
    assert report.relative_error > 1e-5
    assert f"The first wrong term is {plant.term} at step {report.first.step}" in (
        report.conclusion()
    )


@pytest.mark.parametrize(
    ("setting", "prepare"),
    {(plant.setting, plant.prepare): None for plant in PLANTS.values()},
)
def test_nothing_is_caught_where_nothing_is_planted(setting, prepare):
    report = check(demonstration(setting, prepare))
    assert report.passed, report.conclusion()
    assert report.worst < 1e-9


def test_there_are_mistakes_in_every_area():
    assert len(PLANTS) >= 40
    assert sum(len(plants) for plants in AREAS.values()) == len(PLANTS)  # no name twice
    assert min(len(plants) for plants in AREAS.values()) >= 5


def test_the_list_names_all_of_them_within_80_columns():
    result = CliRunner().invoke(main, ["gradcheck", "--plant", "list"])
    assert result.exit_code == 0
    assert all(f"  {name} " in result.output for name in PLANTS)
    assert max(map(len, list_lines())) <= 80


def test_a_planted_mistake_is_reported_with_exit_code_1():
    result = CliRunner().invoke(main, ["gradcheck", "--plant", "no-gamma-h"])
    assert result.exit_code == 1
    assert "The first wrong term is G at step 2" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_an_unknown_mistake_is_refused_with_the_nearest_names():
    result = CliRunner().invoke(main, ["gradcheck", "--plant", "printed9"])
    assert result.exit_code == 2
    assert "printed-9" in result.output


def test_the_documented_table_is_that_of_the_catalogue():
    text = DOCS.read_text(encoding="utf-8")
    block = text.split("<!-- plant-table -->")[1].split("<!-- end of plant-table -->")[0]
    rows = re.findall(r"^\| `([\w-]+)`: ([^|]*) \| ([^|]+), step \d+ \|", block, re.MULTILINE)
    assert [row[0] for row in rows] == list(PLANTS)
    for name, says, term in rows:
        assert says == PLANTS[name].says
        assert term == PLANTS[name].term


def test_what_hides_from_loose_checks_is_said():
    loud = Line("a", "", "G", 1, 1.0, 1.0, 0.5, ("autodiff",))
    quiet = loud._replace(name="b", absolute=1e-9, cosine=0.9999, caught_by=())
    text = hidden([loud, quiet])
    assert "1 pass a check with cosine 0.99: `b`." in text
    assert "1 pass a check with absolute 1e-6: `b`." in text
    assert "autodiff: sees 1 of 2." in text
    assert cosine(0.5) == "0.500"
    assert cosine(1.0 - 2e-7) == "1 − 2e-07"
    assert cosine(float("nan")) == "none"
