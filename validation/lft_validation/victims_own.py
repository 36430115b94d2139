"""A victim of the user's own code: ``lft attack --network mine.py:victim``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from lft_backends.backend import Backend
from lft_validation.errors import UserError
from lft_validation.gradcheck.load import load, user_code


class OwnVictim(Protocol):
    """What the object that ``--network`` names must have.

    Images are NumPy arrays (N, C, H, W), float32, with pixels from -0.5 to 0.5, where θ has been
    added and what lies beyond was cut off (unless Φ was trained without that). ``--order zeroth``
    asks for nothing but ``logits``: a plain function of the images will do in the object's place,
    or a class or function without arguments that makes the object.

    Example:
        >>> class Brightness:  # class 1 for bright images, class 0 for dark ones
        ...     def logits(self, images):
        ...         bright = images.mean(axis=(1, 2, 3))
        ...         return np.stack([-bright, bright], axis=1)
        ...
        ...     def vjp(self, images, cotangents):
        ...         slope = (cotangents[:, 1] - cotangents[:, 0]) / images[0].size
        ...         return np.ones_like(images) * slope[:, None, None, None]
        >>> Brightness().logits(np.full((1, 1, 8, 8), 0.5)).tolist()
        [[-0.5, 0.5]]
    """

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return a score for each class (N, classes); the largest is the prediction.

        Logits or logarithms of probabilities: (12) takes differences of them.
        """

    def vjp(self, images: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
        """Return Σ_c cotangents[n, c] ∂logits[n, c]/∂images[n], of the images' shape.

        Only ``--order first`` asks for it.
        """


class OwnNetwork(NamedTuple):
    """A user's victim in the place of a network: whatever it returns is looked at.

    Of :class:`lft_ref.attack.Victim` it has what an attack asks for; the weights are the user's.
    """

    spec: str
    logits: Callable[[np.ndarray], Any]
    vjp: Callable[[np.ndarray, np.ndarray], Any] | None
    backend: Backend

    @property
    def size(self) -> int:
        """It has no weights that are known here."""
        return 0

    @property
    def curved(self) -> bool:
        """No curvature is known: an attack needs none."""
        return False

    def activations(self, _weights: Any, x: Any) -> list[Any]:
        """Return the images (..., C, H, W), and their logits (..., classes)."""
        images = self._images(x)
        if not np.isfinite(images).all():  # a fine-tuner ran away: nothing to ask the victim
            z = np.full((len(images), 2), np.nan, np.float32)
        else:
            what = f"--network {self.spec}: logits"
            z = _asked(what, self.logits, (len(images), None), images)
        z = z.reshape((*x.shape[:-3], z.shape[-1]))
        return [x, z if isinstance(x, np.ndarray) else self.backend.asarray(z)]

    def x_vjp(self, _weights: Any, xs: list[Any], y_bar: Any) -> Any:
        """Pull the logits' cotangents (..., classes) back to the images."""
        if self.vjp is None:
            raise UserError(
                f"--network {self.spec} has no vjp(images, cotangents), which --order first needs; "
                "add it, or use --order zeroth"
            )
        images = self._images(xs[0])
        cotangents = np.array(self.backend.to_host(y_bar), np.float32)
        cotangents = cotangents.reshape((len(images), cotangents.shape[-1]))
        what = f"--network {self.spec}: vjp"
        x_bar = _asked(what, self.vjp, images.shape, images, cotangents).reshape(xs[0].shape)
        return x_bar if isinstance(xs[0], np.ndarray) else self.backend.asarray(x_bar)

    def _images(self, x: Any) -> np.ndarray:
        """A copy on the host, (N, C, H, W): what the user's code does with it changes nothing."""
        host = x if isinstance(x, np.ndarray) else self.backend.to_host(x)
        return np.array(host, np.float32).reshape((-1, *x.shape[-3:]))


class Own(NamedTuple):
    """A user's victim, with what is known of any victim: see ``victims.Attacked``."""

    name: str
    network: OwnNetwork
    weights: np.ndarray  # (0,): they are the user's
    about: dict[str, Any]


def own_victim(spec: str, backend: Backend, zeroth: bool) -> Own:
    """Load the victim that ``file.py:name`` or ``package.module:name`` names.

    Raises:
        UserError: if there is no such object, or it lacks what is asked of it.
    """
    found = load(spec)
    if inspect.isclass(found) or (inspect.isfunction(found) and _takes_nothing(found)):
        with user_code(f"--network {spec}()"):
            found = found()
    logits = getattr(found, "logits", found)
    if not callable(logits):
        raise UserError(
            f"--network {spec} is of type {type(found).__name__}, without logits(images); give an "
            "object that has it, or a function of the images"
        )
    vjp = getattr(found, "vjp", None)
    if not zeroth and not callable(vjp):
        raise UserError(
            f"--network {spec} has no vjp(images, cotangents), which --order first needs; add it, "
            "or use --order zeroth"
        )
    about = dict.fromkeys(("source", "accuracy", "train_sha256", "shape")) | {"network": spec}
    return Own(spec, OwnNetwork(spec, logits, vjp, backend), np.zeros(0, np.float32), about)


def _takes_nothing(function: Callable[..., Any]) -> bool:
    return not inspect.signature(function).parameters


def _asked(
    what: str, f: Callable[..., Any], shape: tuple[int | None, ...], *arguments: np.ndarray
) -> np.ndarray:
    """Call a user's function; its errors, and results that do not fit, become one sentence."""
    images = arguments[0].shape
    with user_code(f"{what} of images of shape {images}"):
        found = f(*arguments)
    try:
        result = np.asarray(found)
    except Exception as error:  # whatever a foreign array has against it
        raise UserError(
            f"{what} returns a {type(found).__name__} that is no NumPy array ({error})"
        ) from error
    if result.dtype.kind not in "fiu":
        raise UserError(f"{what} returns {result.dtype}, expected an array of real numbers")
    fits = len(result.shape) == len(shape) and all(
        wanted in (None, n) for wanted, n in zip(shape, result.shape, strict=True)
    )
    if not fits or result.shape[-1] < 2 <= len(shape) == 2:
        wanted = f"({shape[0]}, classes), at least 2" if shape[1] is None else f"{shape}"
        raise UserError(
            f"{what} of images of shape {images} returns shape {result.shape}, expected {wanted}"
        )
    if not np.isfinite(result).all():
        raise UserError(
            f"{what} returns numbers that are not finite, such as the logarithm of a probability "
            "of 0; return finite ones"
        )
    return result.astype(np.float32)
