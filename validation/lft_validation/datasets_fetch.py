"""Download image data with pooch: several mirrors, checksums, a bar, and going on after a stop."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from lft_backends.libraries import one_line
from lft_validation.datasets import Source, md5
from lft_validation.datasets_formats import LARGEST
from lft_validation.errors import UserError
from lft_validation.files import write_bytes

TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces
PIECE = 2**16  # bytes


def fetch(wanted: Source, root: Path) -> str:
    """Download what is missing of a source to ``root``; return what was done, in one sentence.

    Raises:
        UserError: if there is no mirror, pooch is missing, a file is there that is not the
            official one, no mirror has the files, or they cannot be written.
    """
    if not wanted.mirrors:
        if wanted.train:  # files are needed, and nobody has them
            raise UserError(f"{wanted.name} {wanted.without_mirrors}")
        return f"{wanted.name} {wanted.without_mirrors}"
    files, folder = {**wanted.train, **wanted.test}, root / wanted.folder
    missing = [name for name in files if not (folder / name).exists()]
    for name, checksum in files.items():
        if name not in missing and md5(folder / name) != checksum:
            raise UserError(
                f"{folder / name} is not the official file, and is not overwritten; "
                "move it away, or download to another --data-dir"
            )
    if not missing:
        return f"{wanted.name} is complete in {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if wanted.archive is None:
            for name in missing:
                _retrieve(name, files[name], folder, wanted.mirrors)
        else:
            archive = _retrieve(*wanted.archive, root, wanted.mirrors)
            _unpack(archive, wanted.folder, missing, root)
            archive.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error}); choose another --data-dir") from error
    return f"{wanted.name}: {len(missing)} files written to {folder}"


def _retrieve(name: str, checksum: str, folder: Path, mirrors: tuple[str, ...]) -> Path:
    """Get one file from the first mirror that has it, or go on with what an earlier try left."""
    try:
        import pooch
    except ImportError as error:
        raise UserError(
            "downloads need pooch; install it with: pip install 'lft-ref[images]'"
        ) from error
    import requests

    pooch.get_logger().setLevel("WARNING")
    part, reasons = folder / f".{name}.part", list[str]()
    for mirror in mirrors:

        def download(url: str, output: str, _: Any) -> None:
            _resume(url, part)
            part.replace(output)

        try:
            return Path(
                pooch.retrieve(mirror + name, f"md5:{checksum}", name, folder, downloader=download)
            )
        except (requests.RequestException, ValueError) as error:  # ValueError: the wrong MD5
            reasons.append(f"{mirror}: {one_line(error, 120)}")
    raise UserError(
        f"no mirror has {name} ({'; '.join(reasons)}); try again later to go on, "
        f"or put the file into {folder} by hand"
    )


def _resume(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of the file at ``url``."""
    import requests
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with (
        requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is lacking: the checksum says whether it is right
        answer.raise_for_status()
        have = have if answer.status_code == requests.codes.partial_content else 0
        length = answer.headers.get("Content-Length")
        task = bar.add_task(
            url.rpartition("/")[2], completed=have, total=have + int(length) if length else None
        )
        with part.open("ab" if have else "wb") as file:
            for piece in answer.iter_content(PIECE):
                have += len(piece)
                if have > LARGEST:
                    raise requests.RequestException("sends more than any such file has")
                file.write(piece)
                bar.update(task, completed=have)


def _unpack(archive: Path, folder: str, names: list[str], root: Path) -> None:
    """Write the named files of an archive whose checksum is right; nothing else leaves it."""
    wanted = {f"{folder}/{name}": root / folder / name for name in names}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            target, content = wanted.get(member.name), tar.extractfile(member)
            if target is not None and content is not None:
                write_bytes(target, content.read())
