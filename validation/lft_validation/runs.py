"""Run folders: what was asked for (config.json), what came out, and how to go on after a stop."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lft_backends
import lft_ref
import lft_validation
from lft_validation.errors import UserError
from lft_validation.files import read_json, write_json

CONFIG, LOCK = "config.json", "run.lock"
VERSIONED = ("numpy", "scipy", "numba", "cupy-cuda12x", "cupy-cuda13x", "jax", "torch")
SOURCES = ("*.py", "*.cu", "*.cuh")
# What else some experiments' numbers come from.
IMAGES = ("datasets.py", "datasets_formats.py", "datasets_pictures.py", "datasets_sources.py")
ALSO = {
    "fewshot": ("episodes.py", *IMAGES),
    "theorem1": ("tuners.py", "trained/sine.npz", *IMAGES),
    "uap": ("victims.py", *IMAGES),
}
# What shows numbers, and makes none.
PRESENTATION = (
    "main.py", "needs.py", "plot.py", "pictures.py", "report.py", "claims.py", "said.py",
    "printed.py", "tables.py", "beyond_report.py",
)  # fmt: skip


@functools.cache
def installed() -> dict[str, str]:
    """Return the versions of what any result may depend on, all sources of ours included."""
    digest = hashlib.sha256()
    for package in (lft_ref, lft_backends, lft_validation):
        room = Path(str(package.__file__)).parent
        for file in sorted(f for kind in SOURCES for f in room.rglob(kind)):
            digest.update(file.read_bytes())
    return {"python": platform.python_version(), "sources": digest.hexdigest()[:16]} | _libraries()


@functools.cache
def sources(experiment: str) -> str:
    """Return a short hash of the code that an experiment's numbers come from.

    That is ``lft_ref``, ``lft_backends``, the modules that experiments share, how images are read,
    and the experiment's own folder but for what only presents its results.
    """
    shared = Path(__file__).parent / "experiments"
    rooms = [Path(str(package.__file__)).parent for package in (lft_ref, lft_backends)]
    files = [sorted(f for kind in SOURCES for f in room.rglob(kind)) for room in rooms]
    own = sorted((shared / experiment).rglob("*.py"))
    files += [sorted(shared.glob("*.py")), [f for f in own if f.name not in PRESENTATION]]
    files.append([shared.parent / name for name in ALSO.get(experiment, ())])
    digest = hashlib.sha256()
    for file in itertools.chain(*files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def versions(experiment: str) -> dict[str, str]:
    """Return the versions of what an experiment's results may depend on, its sources included."""
    return {
        "python": platform.python_version(),
        "lft-ref": lft_ref.__version__,
        "sources": sources(experiment),
    } | _libraries()


def _libraries() -> dict[str, str]:
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@contextlib.contextmanager
def new_folder(name: str) -> Iterator[Path]:
    """Make ``runs/NAME-TIME``, with -2, -3, … if another command has just made that.

    At the end it goes again if nothing is in it.

    Raises:
        UserError: if it cannot be made.
    """
    first = Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    made = [] if first.parent.exists() else [first.parent]
    try:
        first.parent.mkdir(exist_ok=True)
        folder = _claimed(first)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {first} ({error.strerror}); choose another one with --out"
        ) from error
    try:
        yield folder
    finally:
        _remove_empty(folder, *made)


def _claimed(first: Path) -> Path:
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


@contextlib.contextmanager
def empty_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Let one command alone put its results into ``out``, or into a :func:`new_folder` if None.

    Raises:
        UserError: if ``out`` holds something, cannot be made, or another process works in it.
    """
    if out is None:
        with new_folder(name) as folder:
            yield folder
        return
    _check_empty(out)
    made = [] if out.exists() else [out]
    with _locked(out):
        try:
            _check_empty(out)  # who had the lock before may have filled it
            yield out
        finally:
            (out / LOCK).unlink(missing_ok=True)
            _remove_empty(*made)


def _check_empty(out: Path) -> None:
    if out.exists() and not _is_empty(out):
        raise UserError(f"--out {out} exists and is not empty; choose another folder")


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def open_run(path: Path, experiment: str, config: dict[str, Any], resume: bool) -> None:
    """Start a run folder, which belongs to one configuration, or go on with it.

    Raises:
        UserError: if the folder holds something else, another configuration, or was made by other
            versions; if it exists and ``resume`` is not asked for; if there is nothing to resume.
    """
    wanted = _wanted(experiment, config)
    if not _is_there(path, wanted, resume):
        write_json(path / CONFIG, wanted)
    elif not resume:
        raise UserError(
            f"--out {path} already holds this run; add --resume to go on with it, "
            "or choose another folder"
        )


@contextlib.contextmanager
def opened_run(path: Path, experiment: str, config: dict[str, Any], resume: bool) -> Iterator[None]:
    """Do :func:`open_run`, and let no other process work in the folder until the end.

    The operating system holds the lock, so that of a killed process is gone with it.

    Raises:
        UserError: as :func:`open_run`, and if another process works in the folder.
    """
    _is_there(path, _wanted(experiment, config), resume)  # no lock in a folder that is not ours
    with _locked(path):
        open_run(path, experiment, config, resume)
        yield


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Make a folder if need be, and let no other process work in it until the end."""
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"another lft works in --out {path}; wait until it has ended, or choose another folder"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot write to --out {path} ({error.strerror}); choose another folder, or make room"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _wanted(experiment: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"experiment": experiment, "config": config, "versions": versions(experiment)}


def _is_there(path: Path, wanted: dict[str, Any], resume: bool) -> bool:
    """Say whether a folder holds the wanted run; refuse one that holds anything else."""
    file = path / CONFIG
    if file.exists():
        _check_same(path, read_json(file), wanted)
        return True
    if path.exists() and not _is_empty(path):
        raise UserError(f"--out {path} exists and is not a run folder; choose another folder")
    if resume:
        raise UserError(f"--resume: there is no run in {path}; leave --resume out to start one")
    return False


def _is_empty(path: Path) -> bool:
    """Say whether a folder holds nothing but what a process may have left that was killed early."""
    return path.is_dir() and all(
        file.name == LOCK or file.name.endswith(".tmp") for file in path.iterdir()
    )


def _check_same(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    """Name the first setting or version in which two configurations differ."""
    whole = isinstance(found, dict) and set(found) == set(wanted)
    if not whole or not all(isinstance(found[part], dict) for part in ("config", "versions")):
        raise UserError(f"{path / CONFIG} is not a run's configuration; choose another --out")
    if found["experiment"] != wanted["experiment"]:
        raise UserError(
            f"--out {path} holds a run of {found['experiment']!r}, not {wanted['experiment']!r}; "
            "choose another folder"
        )
    for part in ("config", "versions"):
        for name in sorted(set(found[part]) | set(wanted[part])):
            was, now = found[part].get(name), wanted[part].get(name)
            if was != now:
                raise UserError(
                    f"--out {path} holds a run with {name} = {was}, now {name} = {now}; "
                    "choose another folder, or go back to that setting"
                )


def log(path: Path, line: str) -> None:
    """Append a line with the time to log.txt; results never depend on it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with (path / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{now} {line}\n")
