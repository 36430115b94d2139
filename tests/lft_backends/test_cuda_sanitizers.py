"""Kernels under g++'s sanitizers: no access out of range, no race; both are found if planted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lft_backends.cuda_on_cpu.fake_cupy import GXX, compile_with_gxx
from tests.lft_backends.cuda_on_cpu.parity import BACKEND
from tests.lft_backends.cuda_on_cpu.planting import Mistake, make_barriers_removable, plant

SOURCE, MLP = (
    (BACKEND.parent / "kernels" / name).read_text(encoding="utf-8")
    for name in ("lstm.cu", "mlp.cu")
)
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g")
THREAD = ("-fsanitize=thread", "-std=c++20", "-DLFT_THREADS", "-g")

pytestmark = pytest.mark.skipif(GXX is None, reason="g++ is not installed")


def options(n: int, m: int, kind: int, block: int, group: int, constant: int) -> tuple[str, ...]:
    names = {"N": n, "M": m, "INPUT": kind, "CONSTANT": constant, "BLOCK": block, "GROUP": group}
    return ("-DLFT_REAL=double", *(f"-DLFT_{name}={value}" for name, value in names.items()))


def mlp_options(widths: str, widest: int, block: int) -> tuple[str, ...]:
    names = {"WIDTHS": widths, "WIDEST": widest, "BLOCK": block}
    return ("-DLFT_REAL=double", *(f"-DLFT_{name}={value}" for name, value in names.items()))


def build(
    folder: Path,
    code: str,
    chosen: tuple[str, ...],
    flags: tuple[str, ...],
    main: str = "sanitize.cpp",
) -> Path:
    try:
        program = compile_with_gxx(folder, code, chosen, main, *flags)
    except AssertionError as error:
        if re.search(r"cannot find .*(asan|tsan|ubsan)", str(error)):
            pytest.skip(f"g++ has no sanitizers here: {error}")
        raise
    return program


def run(program: Path, *arguments: int) -> subprocess.CompletedProcess[str]:
    """Run the program for (tasks, d or N, backwards, mistake)."""
    command = [str(program), *map(str, arguments)]
    if shutil.which("setarch"):  # sanitizers do not stand every layout of addresses
        command = ["setarch", "--addr-no-randomize", *command]
    # Fibres have stacks of their own, so leaks and use after return cannot be judged.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=300
    )


OUT_OF_RANGE = [
    Mistake("j >= d", "j > d"),
    Mistake("j < d", "j <= d", "const bool active = j < d;"),
    Mistake("column < width", "column <= width", "column < width; column"),
    Mistake("k < P", "k <= P", "if (k < P) {"),
]


@pytest.fixture(scope="module")
def for_addresses(tmp_path_factory):
    code = plant(SOURCE, OUT_OF_RANGE)
    return build(tmp_path_factory.mktemp("address"), code, options(3, 2, 2, 128, 2, 1), ADDRESS)


def test_no_access_is_out_of_range(for_addresses):
    for tasks, d, backwards in ((1, 1, 0), (2, 130, 1), (1, 389, 0)):
        done = run(for_addresses, tasks, d, backwards, 0)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "done\n"


def test_no_access_is_out_of_range_without_constant_memory_and_with_features_given(tmp_path):
    program = build(tmp_path, SOURCE, options(5, 4, 0, 64, 5, 0), ADDRESS)
    done = run(program, 2, 70, 0, 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


@pytest.mark.parametrize("mistake", range(len(OUT_OF_RANGE)), ids=lambda k: OUT_OF_RANGE[k].wrong)
def test_an_access_out_of_range_is_found(for_addresses, mistake):
    done = run(for_addresses, 2, 130, 0, 1 + mistake)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert ".cu:" in done.stderr  # it names file and line


@pytest.fixture(scope="module")
def for_races(tmp_path_factory):
    code = make_barriers_removable(SOURCE)
    return build(tmp_path_factory.mktemp("race"), code, options(3, 2, 2, 32, 2, 1), THREAD)


def test_threads_do_not_race(for_races):
    done = run(for_races, 2, 40, 0, 0)
    assert done.returncode == 0, done.stderr[:3000]
    assert done.stdout == "done\n"


@pytest.mark.parametrize("barrier", range(1, SOURCE.count("__syncthreads();") + 1))
def test_a_missing_barrier_is_found(for_races, barrier):
    done = run(for_races, 2, 40, 0, barrier)
    assert "ThreadSanitizer: data race" in done.stderr


# mlp.cu -------------------------------------------------------------------------------------------

MLP_OUT_OF_RANGE = [
    Mistake(
        "item < task.N * OUT",
        "item <= task.N * OUT",
        "item < task.N * OUT; item += BLOCK) {\n    const int i = item / OUT, j = item % OUT;\n"
        "    const real z_ij",
    ),
    Mistake("K % 2 * task.N", "(1 + K % 2) * task.N"),
    Mistake("number % x_tasks", "number"),
    Mistake("K % 2 * 2 * task.N", "(2 + K % 2 * 2) * task.N"),
]


@pytest.fixture(scope="module")
def mlp_for_addresses(tmp_path_factory):
    code = plant(MLP, MLP_OUT_OF_RANGE)
    chosen = mlp_options("2,5,3,4,2", 5, 32)
    return build(tmp_path_factory.mktemp("address"), code, chosen, ADDRESS, "sanitize_mlp.cpp")


def test_no_access_of_a_perceptron_is_out_of_range(mlp_for_addresses):
    for tasks, N, backwards in ((1, 1, 0), (4, 7, 1), (6, 13, 0)):
        done = run(mlp_for_addresses, tasks, N, backwards, 0)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "done\n"


@pytest.mark.parametrize("mistake", range(len(MLP_OUT_OF_RANGE)))
def test_an_access_of_a_perceptron_out_of_range_is_found(mlp_for_addresses, mistake):
    done = run(mlp_for_addresses, 4, 7, 0, 1 + mistake)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert ".cu:" in done.stderr


@pytest.fixture(scope="module")
def mlp_for_races(tmp_path_factory):
    code = make_barriers_removable(MLP)
    chosen = mlp_options("2,5,3,4,2", 5, 16)
    return build(tmp_path_factory.mktemp("race"), code, chosen, THREAD, "sanitize_mlp.cpp")


def test_threads_of_a_perceptron_do_not_race(mlp_for_races):
    done = run(mlp_for_races, 2, 7, 0, 0)
    assert done.returncode == 0, done.stderr[:3000]
    assert done.stdout == "done\n"


@pytest.mark.parametrize("barrier", range(1, MLP.count("__syncthreads();") + 1))
def test_a_missing_barrier_of_a_perceptron_is_found(mlp_for_races, barrier):
    done = run(mlp_for_races, 2, 7, 0, barrier)
    assert "ThreadSanitizer: data race" in done.stderr
