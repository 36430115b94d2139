"""`lft doctor` says what works, also where packages, drivers or data are missing or broken."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lft_backends import backend as backends
from lft_backends import libraries, nvidia
from lft_validation import doctor
from lft_validation.cli import main
from lft_validation.doctor import Finding
from tests.lft_validation.image_files import write_mnist


def lft(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


def break_import(
    monkeypatch: pytest.MonkeyPatch, *names: str, error: BaseException | None = None
) -> None:
    """Let these modules raise on import, as a wheel for another machine does."""
    real = importlib.import_module

    def fails(name: str, package: str | None = None) -> Any:
        if name in names:
            raise error or RuntimeError(f"{name}: undefined symbol " + "of a long name " * 20)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", fails)


def fake_cupy(
    monkeypatch: pytest.MonkeyPatch, driver: int, runtime: int, message: str, count: int = -1
) -> None:
    """A CuPy that imports, with the given CUDA versions; the first call for a device fails."""

    class CUDARuntimeError(RuntimeError):
        pass

    def device_count() -> int:
        if count >= 0:
            return count
        raise CUDARuntimeError(message)

    functions = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: runtime,
        getDeviceCount=device_count,
    )
    module = SimpleNamespace(
        __version__="14.2.0", __spec__=SimpleNamespace(), cuda=SimpleNamespace(runtime=functions)
    )
    monkeypatch.setitem(sys.modules, "cupy", module)  # type: ignore[arg-type]


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_the_report_names_versions_backends_and_machine() -> None:
    result = lft()
    assert result.exit_code == 0, result.output
    for words in ("python", "lft-ref", "autograd", "array-api-compat", "BLAS", "cores", "GiB free"):
        assert words in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_json_says_the_same(tmp_path: Path) -> None:
    alone = json.loads(lft("--json", "-").output)
    assert alone["healthy"]
    assert {entry["name"] for entry in alone["backends"]} == set(backends.BACKENDS)
    file = tmp_path / "doctor.json"
    result = lft("--json", file)
    assert "Backends" in result.output
    assert json.loads(file.read_text()).keys() == alone.keys()


def test_optional_parts_may_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "numba", "cupy", "array_api_strict")
    monkeypatch.setattr(doctor, "is_there", lambda _: False)
    result = lft()
    assert result.exit_code == 0, result.output
    assert "pip install 'lft-ref[images]'" in result.output
    assert "missing: jax, torch" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_a_broken_required_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "autograd", "psutil", "threadpoolctl")
    result = lft()
    assert result.exit_code == 1
    assert "NO   autograd" in result.output
    assert "pip install --force-reinstall autograd" in result.output
    assert "?    memory" in result.output
    assert "something required does not work" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_a_package_that_ends_the_program_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "numba", "scipy", "distributed", error=SystemExit("boo"))
    result = lft()
    assert result.exit_code == 1
    for words in (
        "NO   scipy             SystemExit: boo",
        "no   numba",
        "no   dask://HOST",
        "GiB",
    ):
        assert words in result.output


def test_ray_elsewhere_is_judged_by_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SimpleNamespace(__version__="2.60.0", usable=lambda: ray, client_usable=fails)
    monkeypatch.setitem(sys.modules, "lft_backends.ray_executor", ray)  # type: ignore[arg-type]
    found = by_name(doctor.executors())
    assert found["ray"].works
    assert found["ray://HOST:PORT"] == Finding("ray://HOST:PORT", False, "no client", "pip install")


def fails() -> None:
    raise libraries.Unavailable("no client; install it with: pip install")


def test_a_broken_backend_module_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lft_backends.backend", None)
    assert not doctor.backend("numpy").works
    assert lft().exit_code == 1


def test_json_of_a_broken_numpy_needs_stdout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "lft_validation.files", None)
    result = lft("--json", tmp_path / "doctor.json")
    assert result.exit_code == 2
    assert "use --json - instead" in result.output


def test_a_package_without_metadata_has_an_unknown_version() -> None:
    assert doctor._package("no-such-distribution", "json").detail == "unknown version"


def test_a_backend_that_adds_wrongly_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_small_sum", lambda _: 3.0)
    found = doctor.backend("numpy")
    assert (found.works, found.detail) == (False, "says that 0.5 + 1.5 = 3.0")


@pytest.mark.parametrize(
    ("cuda", "driver", "remedy"),
    [
        (None, "no NVIDIA driver answers", "install the driver on a machine with an NVIDIA GPU"),
        ((11, 4), "the NVIDIA driver serves CUDA 11.4", "update the NVIDIA driver to one for CUDA"),
        ((12, 4), "the NVIDIA driver serves CUDA 12.4", "pip install 'lft-ref[cuda12]'"),
        ((13, 0), "the NVIDIA driver serves CUDA 13.0", "pip install 'lft-ref[cuda13]'"),
    ],
)
def test_no_cupy_says_how_to_install_the_one_that_fits_the_driver(
    monkeypatch: pytest.MonkeyPatch, cuda: tuple[int, int] | None, driver: str, remedy: str
) -> None:
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(nvidia, "driver_cuda", lambda: cuda)
    found = doctor.backend("cupy")
    assert found.detail == f"cupy is not installed; {driver}"
    assert found.remedy.startswith(remedy)


def test_the_driver_is_not_asked_where_the_remedy_names_no_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nvidia, "driver_cuda", lambda: pytest.fail("nobody needs to know"))
    broken = Finding("cupy", False, "cupy is installed but does not import", "pip install x")
    assert doctor._for_this_driver(broken) == broken


INSUFFICIENT = "cudaErrorInsufficientDriver: CUDA driver version is insufficient"


@pytest.mark.parametrize(
    ("driver", "runtime", "message", "count", "detail", "remedy"),
    [
        (0, 12040, INSUFFICIENT, -1, "there is no NVIDIA driver", "install the driver"),
        (11040, 12040, INSUFFICIENT, -1, "serves CUDA 11.4, this CuPy needs 12.4", "update the"),
        (12040, 13000, INSUFFICIENT, -1, "serves CUDA 12.4", "pip install 'lft-ref[cuda12]'"),
        (12040, 12040, "cudaErrorNoDevice: no device", -1, "shows no GPU", "nvidia-smi"),
        (12040, 12040, "", 0, "shows no GPU", "CUDA_VISIBLE_DEVICES"),
        (12040, 12040, "cannot load libnvrtc.so.12", -1, "libnvrtc", "[ctk]"),
        (12040, 12040, "cudaErrorUnknown", -1, "cudaErrorUnknown", "nvidia-smi"),
    ],
)
def test_reasons_for_no_gpu_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
    driver: int,
    runtime: int,
    message: str,
    count: int,
    detail: str,
    remedy: str,
) -> None:
    fake_cupy(monkeypatch, driver, runtime, message, count)
    found = doctor.backend("cupy")
    assert not found.works
    assert detail in found.detail
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("version", "words", "remedy"),
    [
        ("13.6.0", "13.6.0 is too old, 14 or newer is needed", "pip install -U 'lft-ref[cuda12]'"),
        ("14.2.0", "cannot compile for it", "pip install 'cupy-cuda12x[ctk]'"),
    ],
)
def test_a_cupy_that_finds_a_gpu_may_still_be_of_no_use(
    monkeypatch: pytest.MonkeyPatch, version: str, words: str, remedy: str
) -> None:
    monkeypatch.setattr(nvidia, "driver_cuda", lambda: (12, 4))
    fake_cupy(monkeypatch, 12040, 12040, "", 1)
    cupy: Any = sys.modules["cupy"]
    cupy.__version__ = version
    cupy.cuda.Device = lambda _: SimpleNamespace(use=lambda: None)
    found = doctor.backend("cupy")
    assert not found.works
    assert words in found.detail
    assert remedy in found.remedy


def test_hidden_gpus_are_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    fake_cupy(monkeypatch, 12040, 12040, "cudaErrorNoDevice")
    assert "CUDA_VISIBLE_DEVICES is '7'" in doctor.backend("cupy").detail


def test_a_cupy_without_runtime_keeps_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(__version__="0", __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy", module)  # type: ignore[arg-type]
    assert "AttributeError" in doctor.backend("cupy").detail


def test_an_extra_with_all_its_modules_is_there() -> None:
    assert doctor._extra("some", ("json", "csv")).works
    assert doctor._extra("some", ("json", "no_such_module")).detail == "missing: no_such_module"


def test_a_module_without_spec_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odd", SimpleNamespace(__spec__=None))  # type: ignore[arg-type]
    assert not doctor.is_there("odd")


def test_data_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_mnist(tmp_path / "mnist")
    found = by_name(doctor.data_sets())
    assert found["mnist"].works
    assert "5 + 3 images, not the official files" in found["mnist"].detail
    assert not found["cifar10"].works
    assert found["cifar10"].remedy == "lft data fetch cifar10"
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte.gz is missing" in by_name(doctor.data_sets())["mnist"].detail
    assert lft().exit_code == 0


def test_a_data_folder_that_is_none_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFT_DATA", "no/such/folder")
    (found,) = doctor.data_sets()
    assert "which is no folder" in found.detail
    assert lft().exit_code == 0


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON", (99, 0))
    result = lft()
    assert result.exit_code == 1
    assert "use 99.0 or newer" in result.output
