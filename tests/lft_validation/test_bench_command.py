"""``lft bench`` as a person calls it: tables, JSON, figures, and wrong usage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.bench import compare, memory, run
from lft_validation.bench.bars import bars
from lft_validation.bench.cases import Options
from lft_validation.bench.contestant import FUSED, PLAIN, Missing
from lft_validation.bench.machine import Limits
from lft_validation.bench.report import as_json, draw
from lft_validation.bench.run import Bench, Row
from lft_validation.bench.tables import show
from lft_validation.cli import main
from tests.lft_validation.bench_results import case_result


@pytest.fixture(autouse=True)
def _limits_are_known(monkeypatch):
    monkeypatch.setattr(run, "limits", lambda *_, **__: Limits(1e9, 1e9))


def _bench(*arguments):
    return CliRunner().invoke(main, ["bench", *arguments])


def test_json_has_its_form_and_tables_fit_80_columns(tmp_path):
    file = tmp_path / "bench.json"
    result = _bench(
        "--case", "quadratic", "--d", "7", "--steps", "2", "--peers", "none", "--dtype", "float64",
        "--repeats", "3", "--seconds", "0.1", "--json", str(file), "--out", str(tmp_path / "out"),
        "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    found = json.loads(file.read_text())
    assert found["format"] == "lft-bench-1"
    assert found["about"]["threads"] == 1
    assert found["about"]["versions"]["numpy"] == np.__version__
    assert found["limits"]["float64"]["flops"] > 0
    (case,) = found["cases"]
    assert (case["d"], case["steps"], case["rounds"]) == (7, 2, 3)
    assert {row["name"] for row in case["rows"]} >= {PLAIN}
    for row in case["rows"]:
        assert row["right"]
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert row["error"] <= case["bound"]
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["format"] == "lft-bench-1"
    assert (tmp_path / "out" / "bench.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "out" / "bench.svg").read_bytes()[:1000]


def test_json_alone_on_stdout(monkeypatch):
    monkeypatch.setattr(memory, "LENGTHS", (1, 2, 4, 8))
    result = _bench("--case", "memory", "--dtype", "float64", "--threads", "1", "--json", "-")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["cases"] == []
    assert {m["engine"] for m in found["memory"]} >= {"forward mode", "adjoint"}


def test_a_wrong_contestant_ends_in_exit_code_1(monkeypatch):
    monkeypatch.setattr(compare.Judge, "error", lambda *_: float("inf"))
    result = _bench(
        "--case", "quadratic", "--d", "5", "--steps", "2", "--peers", "none", "--dtype", "float64",
        "--threads", "1", "--json", "-",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "wrong results, not timed" in result.output


def test_everything_can_be_shown_and_drawn_at_80_columns(tmp_path):
    from rich.console import Console

    from lft_validation.bench.growth import Growth
    from lft_validation.bench.memory import Memory
    from lft_validation.bench.startup import Start

    case = case_result(**{FUSED: 1.0, PLAIN: 2.0, "JAX jit, (n, d), checkpoint": 3.0})
    case = case._replace(
        rows=[*case.rows, Row("wrong", "torch", float("inf"), False)],
        missing=[Missing("PyTorch", "torch is not installed")],
    )
    bench = Bench(
        {}, {"float32": Limits(1e11, 1e10)}, [case],
        [Growth("d", FUSED, "float32", (1, 2, 4), (1.0, 2.0, 4.0), 1.0, 0.9, 1.1)],
        [Memory("adjoint, recomputing", 512, (4, 16, 64, 256, 1024), (2**20,) * 5, 1.0),
         Memory("forward mode", 8, (4, 16, 64, 256), (2**20,) * 4, 0.0)],
        [Start("fused backend, first use (float32)", 12.3, 11.0)],
    )  # fmt: skip
    with (tmp_path / "text").open("w") as file:
        show(bench, bars(bench), Console(width=80, file=file))
    text = (tmp_path / "text").read_text()
    assert max(map(len, text.splitlines())) <= 80
    for expected in ("wrong: not timed", "torch is not installed", "recomputing, d = 512", "12.30",
                     "2 % of the limit", "exponent"):  # fmt: skip
        assert expected in text
    assert json.dumps(as_json(bench, bars(bench)), allow_nan=False)
    assert draw(bench, tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--case", "nothing"), "nothing"),
        (("--d", "0"), "--d must be positive, found 0"),
        (("--steps", "-1"), "--steps must be positive, found -1"),
        (("--seconds", "nan"), "--seconds must be positive, found nan"),
        (("--repeats", "0"), "--repeats must be positive, found 0"),
        (("--compile-seconds", "-1"), "--compile-seconds must not be negative, found -1.0"),
        (("--threads", "0"), "--threads must be at least 1, found 0"),
        (("--threads", "9999"), "--threads 9999 is more than this process may use"),
        (("--peers", "jax,tensorflow"), "found 'tensorflow'"),
        (("--figure", "bench.txt"), "--figure must end in .png, .svg, .pdf, found bench.txt"),
        (("--source", "svhn"), "'--source': 'svhn' is not one of 'mnist', 'cifar10', 'digits'"),
        (
            ("--case", "memory", "--case", "growth", "--figure", "bench.png"),
            "--figure bench.png shows cases that are timed, and none of them was chosen; add one",
        ),
        (("--source", "imagenet", "--case", "attack", "--threads", "1"), "imagenet"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, words):
    result = _bench(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_without_mnist_the_digits_are_attacked(monkeypatch):
    from lft_validation.commands import bench_options as module

    monkeypatch.setattr(module, "find", lambda *_: None)
    assert module.with_images(Options()).source == "digits"
    monkeypatch.setattr(module, "find", lambda *_: ("cache", None))
    assert module.with_images(Options()).source == "mnist"


def test_the_sources_are_those_whose_victims_are_in_the_package():
    from lft_validation.commands.bench import SOURCES
    from lft_validation.experiments.uap.config import Config, attackable

    assert sorted(SOURCES) == sorted(attackable(Config()))


def test_a_source_that_is_not_here_ends_it_before_anything_is_timed(nowhere, monkeypatch):
    monkeypatch.setattr(run, "run", lambda *_: pytest.fail("it started"))
    result = _bench("--source", "cifar10", "--threads", "1")
    assert result.exit_code == 2
    assert "lft data fetch cifar10, or set LFT_DATA or --data-dir to the folder" in result.output


def test_images_are_looked_for_where_the_option_says(nowhere, monkeypatch, tmp_path):
    from lft_validation import datasets

    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").touch()
    seen = []

    def ran(options, *_):
        seen.append((options.source, datasets.locate(datasets.source("mnist"))))
        return Bench({}, {}, [], [], [], [])

    monkeypatch.setattr(run, "run", ran)
    result = _bench("--case", "attack", "--data-dir", str(tmp_path), "--threads", "1")
    assert result.exit_code == 0, result.output
    assert seen == [("mnist", tmp_path / "mnist")]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--case", "startup", "--case", "sine"), "--case startup --case sine; leave it out"),
        (("--source", "digits"), "digits, which comes with scikit-learn; leave it out"),
    ],
)
def test_a_folder_of_images_that_nothing_reads_is_refused(monkeypatch, tmp_path, arguments, found):
    monkeypatch.setattr(run, "run", lambda *_: pytest.fail("it started"))
    result = _bench(*arguments, "--data-dir", str(tmp_path), "--threads", "1")
    assert result.exit_code == 2
    assert f"found --data-dir {tmp_path} and {found}" in " ".join(result.output.split())


def test_a_folder_without_figures_is_told_of(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "run", lambda *_: Bench({}, {}, [], [], [], []))
    result = _bench("--case", "memory", "--out", str(tmp_path), "--threads", "1")
    assert result.exit_code == 0, result.output
    assert f"no figures in {tmp_path}: they show cases that are timed" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]


def test_a_gpu_that_nobody_has_is_refused_before_anything_is_timed(monkeypatch):
    from lft_validation.bench import ours

    monkeypatch.setattr(run, "run", lambda *_: pytest.fail("it started"))
    missing = [Missing("lft_ref, CuPy", "cupy is not installed; install it with: pip")]
    monkeypatch.setattr(ours, "contestants", lambda *_: missing)
    result = _bench("--device", "gpu", "--peers", "none", "--threads", "1")
    assert result.exit_code == 2
    assert (
        "Error: --device gpu has nobody to time: cupy is not installed; install it with: pip. See "
        "lft doctor, or use --device cpu" in result.output
    )


def test_what_is_measured_on_the_processor_says_so_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(run, "run", lambda *_: Bench({}, {}, [], [], [], []))
    result = _bench("--device", "gpu", "--case", "growth", "--case", "memory", "--threads", "1")
    assert result.exit_code == 0
    assert "measured on the processor, also with --device gpu: growth, memory" in result.output


def test_nothing_that_was_timed_is_no_success(monkeypatch, tmp_path):
    missing = [Missing("JAX", "JAX does not run here"), Missing("lft", "no memory")]
    case = case_result()._replace(rows=[], missing=missing, base="")
    monkeypatch.setattr(run, "run", lambda *_: Bench({}, {}, [case, case], [], [], []))
    result = _bench("--case", "quadratic", "--figure", str(tmp_path / "a.png"), "--threads", "1")
    assert result.exit_code == 1
    assert "Error: nothing was timed: JAX does not run here; no memory" in result.output
    assert not (tmp_path / "a.png").exists()
