"""What works on this machine. Every look is guarded: a broken package must not hide the others."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from typing import Any, NamedTuple

import lft_ref
from lft_backends.libraries import is_there
from lft_backends.threads import cores

REQUIRED = {  # distribution -> module
    "array-api-compat": "array_api_compat",
    "autograd": "autograd",
    "click": "click",
    "filelock": "filelock",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "psutil": "psutil",
    "rich": "rich",
    "scipy": "scipy",
    "threadpoolctl": "threadpoolctl",
}
EXTRAS = {  # extra -> modules; others are looked at as backends and executors
    "images": ("PIL", "pooch", "sklearn"),
    "bench": ("jax", "torch"),
    "test": ("array_api_strict", "hypothesis", "pytest"),
}
PYTHON = (3, 11)
ANYTHING = (Exception, SystemExit)  # that a broken package, a driver or a compiler may raise


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    works: bool
    detail: str = ""  # version, or the reason why it does not work
    remedy: str = ""  # what mends it


class Diagnosis(NamedTuple):
    """Everything that ``lft doctor`` says."""

    required: list[Finding]
    backends: list[Finding]
    executors: list[Finding]
    extras: list[Finding]
    data: list[Finding]
    machine: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether everything that is needed works; backends but NumPy, extras and data are not."""
        numpy = [finding for finding in self.backends if finding.name == "numpy"]
        return all(finding.works for finding in [*self.required, *numpy])


def diagnose() -> Diagnosis:
    """Look at everything."""
    names = ("numpy", "numba", "cupy", "torch", "jax", "strict")
    return Diagnosis(
        required=[_python(), Finding("lft-ref", True, lft_ref.__version__)]
        + [_package(name, module) for name, module in REQUIRED.items()],
        backends=[backend(name) for name in names],
        executors=executors(),
        extras=[_extra(name, modules) for name, modules in EXTRAS.items()],
        data=data_sets(),
        machine=[_blas(), _cores(), _memory()],
    )


def _python() -> Finding:
    wanted = ".".join(map(str, PYTHON))
    return Finding(
        "python", sys.version_info >= PYTHON, platform.python_version(), f"use {wanted} or newer"
    )


def _package(name: str, module: str) -> Finding:
    """Import a package, so that a broken one shows."""
    remedy = f"pip install --force-reinstall {name}"
    try:
        importlib.import_module(module)
    except ANYTHING as error:
        return Finding(name, False, one_line(error), remedy)
    return Finding(name, True, _version(name))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def one_line(error: BaseException) -> str:
    """Return an error's kind and the start of its text, as one line."""
    text = " ".join(str(error).split())
    short = text if len(text) <= 160 else text[:157] + "..."
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def backend(name: str) -> Finding:
    """Use a backend for a sum, which shows missing devices and compilers too."""
    try:
        from lft_backends.backend import BackendUnavailable, get_backend
    except ANYTHING as error:
        return Finding(name, False, one_line(error), "mend the packages above first")
    try:
        total = _small_sum(get_backend(name))
    except BackendUnavailable as error:
        reason, _, remedy = str(error).rpartition("; ")
        finding = Finding(name, False, reason, remedy.partition(" with: ")[2] or remedy)
        return _cupy_finding(finding) if name == "cupy" else finding
    except ANYTHING as error:
        finding = Finding(name, False, one_line(error), f"use another backend than {name}")
        return _cupy_finding(finding) if name == "cupy" else finding
    works = abs(total - 2.0) < 1e-12
    remedy = "" if works else "install its library again"
    detail = _library_version(name) if works else f"says that 0.5 + 1.5 = {total}"
    return Finding(name, works, detail, remedy)


def executors() -> list[Finding]:
    """Say which executors can be used; nothing is started, and no cluster is looked for."""
    found = [Finding("local", True, "in this process")]
    found.append(Finding("processes:N", True, "Python's own, on this machine"))
    for name, module, where in (
        ("dask://HOST:PORT", "lft_backends.dask_executor", "a cluster that runs already"),
        ("ray", "lft_backends.ray_executor", "here, or the cluster of RAY_ADDRESS"),
        ("ray://HOST:PORT", "lft_backends.ray_executor", "a cluster elsewhere"),
    ):
        try:
            executor = importlib.import_module(module)
            version = executor.usable().__version__
            if name.startswith("ray://"):
                executor.client_usable()
        except ANYTHING as error:
            reason, _, remedy = str(error).rpartition("; ")
            command = remedy.partition(" with: ")[2] or remedy
            found.append(Finding(name, False, reason or one_line(error), command))
        else:
            found.append(Finding(name, True, f"{version}; {where}"))
    return found


def _library_version(name: str) -> str:
    library = {"strict": "array_api_strict"}.get(name, name)
    version = str(getattr(sys.modules.get(library), "__version__", ""))
    return f"{version}; slow, for tests of the array standard" if name == "strict" else version


def _small_sum(backend: Any) -> float:
    import numpy as np

    return float(backend.to_host(backend.xp.sum(backend.asarray(np.asarray([0.5, 1.5])))))


def _cupy_finding(finding: Finding) -> Finding:
    """Tell apart no CuPy, no driver, a driver too old, no device and no compiler."""
    text = finding.detail
    if "--force-reinstall" in finding.remedy or any(
        words in text for words in ("not installed", "does not import", "too old", "compile")
    ):
        return _for_this_driver(finding)  # the backend's own remedy is the right one
    driver, runtime = _cuda_versions()
    if driver == 0:
        return Finding(
            "cupy",
            False,
            "CuPy is installed, but there is no NVIDIA driver",
            "install the driver on a machine with an NVIDIA GPU, or use numpy or numba",
        )
    if "InsufficientDriver" in text:
        wheels = "pip uninstall cupy-cuda13x, then pip install 'lft-ref[cuda12]'"
        return Finding(
            "cupy",
            False,
            f"the NVIDIA driver is too old: it serves CUDA {_dotted(driver)}, this CuPy needs "
            f"{_dotted(runtime)}",
            wheels if 12000 <= driver < 13000 <= runtime else "update the NVIDIA driver",
        )
    if "NoDevice" in text or "shows no GPU" in text:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        where = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        return Finding(
            "cupy",
            False,
            f"the driver shows no GPU{where}",
            "look at nvidia-smi and CUDA_VISIBLE_DEVICES",
        )
    if "nvrtc" in text.lower():
        return finding._replace(remedy="pip install 'cupy-cuda12x[ctk]' (13x for CUDA 13)")
    return finding._replace(remedy="look at nvidia-smi, or use numpy or numba")


def _for_this_driver(finding: Finding) -> Finding:
    """Choose between CuPy's wheels where a remedy names both, and say what the choice rests on."""
    from lft_backends.nvidia import cupy_remedy, driver_cuda

    if "cuda13" not in finding.remedy:
        return finding
    cuda = driver_cuda()
    driver = "no NVIDIA driver answers"
    if cuda is not None:
        driver = f"the NVIDIA driver serves CUDA {cuda[0]}.{cuda[1]}"
    return finding._replace(
        detail=f"{finding.detail}; {driver}", remedy=cupy_remedy(finding.remedy, cuda)
    )


def _cuda_versions() -> tuple[int, int]:
    """Return the CUDA versions of driver and CuPy as CUDA numbers them; -1 where unknown."""
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
        return int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    except ANYTHING:  # CuPy is broken: its own error stands
        return -1, -1


def _dotted(version: int) -> str:
    """12040 -> 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}" if version >= 0 else "another version"


def _extra(name: str, modules: tuple[str, ...]) -> Finding:
    """Look for the modules of an extra without importing them: some take seconds."""
    missing = [module for module in modules if not is_there(module)]
    if not missing:
        return Finding(name, True, ", ".join(modules))
    return Finding(name, False, f"missing: {', '.join(missing)}", f"pip install 'lft-ref[{name}]'")


def data_sets() -> list[Finding]:
    """Look for images where the image experiments will; no command but those needs them."""
    try:
        from lft_validation.datasets import SOURCES, VARIABLE
        from lft_validation.datasets_survey import survey

        reports = list(survey(tuple(SOURCES)))
    except ANYTHING as error:
        return [Finding("data", False, one_line(error), "see above, or lft data list")]
    findings = []
    for name in SOURCES:
        found = [report for report in reports if report.name == name]
        problem = next((report.problem for report in found if report.problem), "")
        works = bool(found[0].place) and not problem
        state = "official" if all(r.official for r in found) else "not the official files"
        counts = " + ".join(str(report.images) for report in found)
        detail = f"{counts} images, {state}, {found[0].folder}"
        missing = problem or f"not under {VARIABLE} or in the cache"
        fetched = bool(SOURCES[name].mirrors)
        remedy = f"lft data fetch {name}" if fetched else "see lft data --help"
        if name == "digits":
            remedy = "pip install 'lft-ref[images]'"
        findings.append(Finding(name, works, detail if works else missing, remedy))
    return findings


def _blas() -> Finding:
    """Return the library behind NumPy's matrix products, and its threads."""
    try:
        importlib.import_module("numpy")
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        found = [
            f"{pool.get('internal_api')} {pool.get('version')}, threads: {pool.get('num_threads')}"
            for pool in pools
            if pool.get("user_api") == "blas"
        ]
    except ANYTHING as error:
        return Finding("BLAS", False, one_line(error), "mend the packages above first")
    return Finding("BLAS", True, "; ".join(dict.fromkeys(found)) or "of unknown kind")


def _cores() -> Finding:
    return Finding("cores", True, f"{cores()} usable of {os.cpu_count()}")


def _memory() -> Finding:
    try:
        memory = importlib.import_module("psutil").virtual_memory()
    except ANYTHING as error:
        return Finding("memory", False, one_line(error), "mend the packages above first")
    free, total = memory.available / 2**30, memory.total / 2**30
    return Finding("memory", True, f"{free:.1f} GiB free of {total:.1f} GiB")
