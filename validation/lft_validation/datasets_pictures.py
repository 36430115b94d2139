"""Readers of pictures in files of their own: Omniglot's archives, and miniImageNet's folder.

A zip archive is read in place: nothing is extracted, so a member's path leads nowhere, and none is
unpacked before the size that it declares was checked. Pictures are decoded by Pillow after a look
at their format, mode and size.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.datasets_formats import LARGEST, REPLACE, Images, content
from lft_validation.errors import UserError

MEMBER = re.compile(r"([^/]+)/[^/]+/character\d\d/\d{4}_\d\d\.png")  # its archive's name first
CENTRAL = b"PK\x01\x02"  # what an archive's entry of a member begins with
MEMBERS = 100_000  # and their bytes, unpacked; the real archives have 19,280 of some hundred bytes
MEMBER_BYTES = 2**16
OMNIGLOT_SIDE, DRAWN = 28, 105
MINIIMAGENET_SIDE = 84
PIXELS = 2**24  # of a picture, at most
GET_AGAIN = "move the file away and get it again with lft data fetch omniglot"
BY_HAND = "put it there from the published data set, which cannot be downloaded here"
GREY = ("1", "L")  # Pillow's names of modes without colours
MODES = ("1", "L", "P", "RGB", "CMYK")  # which turn into grey or colour without loss of range


def omniglot_images(path: Path) -> Images:
    """Read one of Omniglot's archives; classes are characters, in the order of their names.

    Pictures of 105 × 105 are resized to 28 × 28 (Lanczos, as Finn et al. 2017 did), and ink, which
    is 0 in the files, becomes 255.

    Raises:
        UserError: if it is no such archive, or one of its pictures is damaged or of another kind.
    """
    with _archive(path) as archive:
        names = sorted(_members(path, archive))
        pixels = np.empty((len(names), 1, OMNIGLOT_SIDE, OMNIGLOT_SIDE), np.uint8)
        for i, name in enumerate(names):
            try:
                with archive.open(name) as member:
                    data = member.read(MEMBER_BYTES)  # no more, whatever it unpacks to
            except Exception as error:  # zipfile raises many kinds on a damaged member
                raise UserError(
                    f"{path}: {name} is damaged ({_reason(error)}); {GET_AGAIN}"
                ) from error
            shape = (1, OMNIGLOT_SIDE, OMNIGLOT_SIDE)
            where, size = f"{path}: {name}", (DRAWN, DRAWN)
            pixels[i] = 255 - picture(data, where, shape, ("1",), size, GET_AGAIN)
    characters = [name.rpartition("/")[0] for name in names]
    return Images(pixels, np.unique(characters, return_inverse=True)[1].astype(np.int64))


def omniglot_count(path: Path) -> int:
    """Return how many pictures an archive of Omniglot lists.

    Raises:
        UserError: if it is no such archive.
    """
    with _archive(path) as archive:
        return len(_members(path, archive))


def _archive(path: Path) -> zipfile.ZipFile:
    data = content(path, GET_AGAIN)
    listed = data.count(CENTRAL)  # at least the members, before an object is made of each
    if listed > MEMBERS:
        raise UserError(f"{path} lists {listed} pictures, which cannot be; {GET_AGAIN}")
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path} is no readable zip archive ({_reason(error)}); {GET_AGAIN}"
        ) from error


def _members(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """Names of the pictures that an archive lists, none of which is unpacked."""
    members = [info for info in archive.infolist() if not info.filename.endswith("/")]
    if not members:
        raise UserError(f"{path} lists 0 pictures, which cannot be; {GET_AGAIN}")
    for info in members:
        name = MEMBER.fullmatch(info.filename)
        if not name or name[1] != path.stem:  # of the other archive: its classes are other ones
            raise UserError(
                f"{path} lists {info.filename[:80]!r}, expected names such as "
                f"'{path.stem}/Latin/character01/0684_01.png'; {GET_AGAIN}"
            )
        if info.file_size > MEMBER_BYTES:
            raise UserError(
                f"{path}: {info.filename} says that it unpacks to {info.file_size} bytes, "
                f"expected at most {MEMBER_BYTES}; {GET_AGAIN}"
            )
    names = [info.filename for info in members]
    if len(set(names)) < len(names):
        raise UserError(f"{path} lists a picture twice; {GET_AGAIN}")
    return names


def miniimagenet_images(path: Path) -> Images:
    """Read the pictures that a split file names, resized to 84 × 84 colour pixels (Lanczos).

    The split file has the header ``filename,label`` (Ravi & Larochelle 2017); the pictures lie in
    the folder ``images`` beside it. Classes are the labels in order.

    Raises:
        UserError: if the file or a picture is missing, damaged or of another kind.
    """
    rows = split_rows(path)
    labels = sorted({label for _, label in rows})
    shape = (3, MINIIMAGENET_SIDE, MINIIMAGENET_SIDE)
    pixels = np.empty((len(rows), *shape), np.uint8)
    for i, (name, _) in enumerate(rows):
        file = path.parent / "images" / name
        pixels[i] = picture(content(file, BY_HAND), str(file), shape, remedy=BY_HAND)
    number = {label: i for i, label in enumerate(labels)}
    return Images(pixels, np.asarray([number[label] for _, label in rows], np.int64))


def check_splits(path: Path, others: Iterable[Path]) -> None:
    """Check that a split file has no class of the other splits' files, and no picture of theirs.

    Raises:
        UserError: naming the first that it shares.
    """
    names, labels = map(set, zip(*split_rows(path), strict=True))
    for other in others:
        beside = other.parent == path.parent  # elsewhere, pictures of a name are other files
        where = other.name if beside else str(other)
        others_names, others_labels = map(set, zip(*split_rows(other), strict=True))
        shared = [f"class {label!r}" for label in sorted(labels & others_labels)]
        shared += [f"picture {name!r}" for name in sorted(names & others_names) if beside]
        if shared:
            raise UserError(f"{path} and {where} share the {shared[0]}; use the published split")


def split_rows(path: Path) -> list[tuple[str, str]]:
    """Return the file names and labels of a split file of miniImageNet.

    Raises:
        UserError: if it is missing, or no such file.
    """
    try:
        lines = list(csv.reader(io.StringIO(content(path, BY_HAND).decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no readable csv file ({_reason(error)}); {BY_HAND}") from error
    if not lines or lines[0] != ["filename", "label"]:
        found = ",".join(lines[0])[:80] if lines else "nothing"
        raise UserError(
            f"{path} begins with {found!r}, expected the header 'filename,label'; {BY_HAND}"
        )
    rows = [row for row in lines[1:] if row]
    if not 0 < len(rows) * 3 * MINIIMAGENET_SIDE**2 <= 2 * LARGEST:
        raise UserError(f"{path} names {len(rows)} pictures; expected 1 to 50,000; {BY_HAND}")
    for row in rows:
        if len(row) != 2 or not row[1] or Path(row[0]).name != row[0] or row[0] in ("", ".."):
            raise UserError(
                f"{path} has the line {','.join(row)[:80]!r}; expected the name of a file in "
                "images/ and a label"
            )
    name, times = Counter(name for name, _ in rows).most_common(1)[0]
    if times > 1:  # D_tr and D_val of a task could both have it
        raise UserError(f"{path} names the picture {name[:80]!r} {times} times; name each once")
    return [(name, label) for name, label in rows]


def picture(
    data: bytes,
    where: str,
    shape: tuple[int, int, int],
    modes: tuple[str, ...] = MODES,
    size: tuple[int, int] | None = None,
    remedy: str = REPLACE,
) -> np.ndarray:
    """Return a PNG or JPEG picture as uint8 of the given shape (C, H, W), C being 1 or 3.

    Args:
        data: what the file holds.
        where: how an error names the file.
        shape: what the picture is converted and resized to.
        modes: Pillow's names of the modes that are accepted.
        size: the (width, height) that it must have; any if None.
        remedy: what an error tells the user to do about a damaged picture.

    Raises:
        UserError: if Pillow is missing, or the picture is damaged or of another kind.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise UserError(
            "pictures are read with Pillow, which is not installed; "
            "install it with: pip install 'lft-ref[images]'"
        ) from error
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            _check_kind(image, where, modes, size)
            upright = ImageOps.exif_transpose(image)  # as a camera was held
            grey_or_colour = upright.convert("L" if channels == 1 else "RGB")
            if grey_or_colour.size != (width, height):
                grey_or_colour = grey_or_colour.resize((width, height), Image.Resampling.LANCZOS)
            pixels = np.asarray(grey_or_colour, np.uint8)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is no readable PNG or JPEG picture; {remedy}") from error
    except Exception as error:  # Pillow raises many kinds on a damaged picture
        raise UserError(
            f"{where} is no readable PNG or JPEG picture ({_reason(error)}); {remedy}"
        ) from error
    return np.moveaxis(np.reshape(pixels, (height, width, channels)), -1, 0)


def picture_shape(path: Path) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of a picture as it is to be seen: turned as its camera says.

    C is 1 for shades of grey.

    Raises:
        UserError: as :func:`picture`.
    """
    data = content(path)
    picture(data, str(path), (1, 1, 1))  # says what is wrong with it, or is missing
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        width, height = _upright_size(image)
        return 1 if image.mode in GREY else 3, height, width


def _upright_size(image: Any) -> tuple[int, int]:
    """Return (width, height) as :func:`PIL.ImageOps.exif_transpose` leaves them."""
    from PIL.ExifTags import Base

    turned = image.getexif().get(Base.Orientation) in (5, 6, 7, 8)  # by 90 degrees
    width, height = image.size
    return (height, width) if turned else (width, height)


def _check_kind(
    image: Any, where: str, modes: tuple[str, ...], size: tuple[int, int] | None
) -> None:
    """Judge a picture by its header, before its pixels are unpacked."""
    found = image.size
    if size in (found, found[::-1]):  # else nothing is asked that may need the pixels
        found = _upright_size(image)
    if size not in (None, found) or prod(found) > PIXELS:
        wanted = "{} x {}".format(*size) if size is not None else f"at most {PIXELS} pixels"
        raise UserError(f"{where} has {found[0]} x {found[1]} pixels, expected {wanted}; resize it")
    kind = image.mode + " with transparency" * ("transparency" in image.info)  # of a palette, say
    if kind not in modes:
        to = " to 8-bit grey or colour without transparency" if modes is MODES else ""
        raise UserError(
            f"{where} is a picture of mode {kind}, expected {' or '.join(modes)}; convert it{to}"
        )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
