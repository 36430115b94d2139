"""Check lft-vectors-1 files with NumPy and HIPS autograd alone.

    python check_with_autograd.py FILE.npz...

Every result in a file is recomputed from the file's inputs: the fine-tuning steps are written out
as the format describes them, and autograd differentiates through all of them.  Prints one line
per file with the relative error of each group of arrays; exits 1 if any exceeds 1e-9.
"""

import sys
from collections.abc import Callable, Mapping
from itertools import pairwise

import autograd.numpy as np
import numpy
from autograd import grad, make_vjp
from autograd.tracer import getval

TOLERANCE = 1e-9
FLOOR = 1e-30  # least scale that an error is measured against
# One of the five gradients can be zero but for rounding (grad_b_o, where a common shift of theta
# leaves a cross-entropy as it is), so their scale is at least this part of the whole gradient's.
SHARE = 1e-2
FIELDS = ("W_x", "W_h", "b", "w_o", "b_o")  # the order of the flat Phi
GROUPS = {
    "theta": ("theta",),
    "val_loss": ("val_loss",),
    "meta_loss": ("meta_loss",),
    "grad": tuple("grad_" + field for field in FIELDS),
    "G": ("G",),
    "H": ("H",),
}

Case = Mapping[str, numpy.ndarray]


def choice(case: Case, name: str, *allowed: str) -> str:
    """The text stored under `name`, which must be one of `allowed`."""
    text = str(case[name])
    if text not in allowed:
        raise ValueError(f"{name} is {text!r}, expected one of {allowed}")
    return text


def cut(flat, shapes):
    """Cut a flat vector into arrays of the given shapes, in order, row-major."""
    pieces, start = [], 0
    for shape in shapes:
        size = int(numpy.prod(shape))
        pieces.append(np.reshape(flat[start : start + size], shape))
        start += size
    if start != len(flat):
        raise ValueError(f"a vector of {len(flat)} entries was cut into {start}")
    return pieces


def task_loss(case: Case, part: str) -> Callable:
    """f(. ; D) for part "train" or "val"."""
    objective = choice(case, "objective", "quadratic", "mlp_mse", "mlp_cross_entropy")
    if objective == "quadratic":
        A, b = case[part + "_A"], case[part + "_b"]
        return lambda theta: np.sum((np.dot(A, theta) - b) ** 2) / (2 * len(b))

    x, y = case[part + "_x"], case[part + "_y"]
    sizes = [int(size) for size in case["layer_sizes"]]
    shapes = []
    for n_in, n_out in pairwise(sizes):
        shapes += [(n_in, n_out), (n_out,)]
    tanh = choice(case, "activation", "relu", "tanh") == "tanh"
    total = np.sum if choice(case, "reduction", "sum", "mean") == "sum" else np.mean

    def loss(theta):
        arrays = cut(theta, shapes)
        out = x
        for layer in range(len(sizes) - 1):
            if layer > 0:
                out = np.tanh(out) if tanh else np.where(out > 0, out, 0.0)
            out = np.dot(out, arrays[2 * layer]) + arrays[2 * layer + 1]
        if objective == "mlp_mse":
            if out.shape != y.shape:
                raise ValueError(f"network output {out.shape}, {part}_y {y.shape}")
            return total((out - y) ** 2)
        out = out - np.max(out, axis=1, keepdims=True)
        log_sum = np.log(np.sum(np.exp(out), axis=1))
        return total(log_sum - out[numpy.arange(len(y)), y.astype(int)])

    return loss


def gradient_or_estimate(case: Case, loss: Callable) -> Callable:
    """g(theta, k), k = 0..K-1: the gradient of the training loss, or equation (6)."""
    first_order = choice(case, "estimator", "first_order", "zeroth_order") == "first_order"
    keep = bool(case["second_order"])
    gradient = grad(loss)

    def g(theta, k):
        theta = theta if keep else getval(theta)
        if first_order:
            return gradient(theta)
        directions, mu = case["directions"][k], float(case["mu"])
        base = loss(theta)
        estimate = 0.0
        for u in directions:
            estimate = estimate + u * (loss(theta + mu * u) - base)
        return estimate / (mu * len(directions))

    return g


def preprocess(case: Case, g):
    """What the cell is fed for each coordinate, (d, m)."""
    if choice(case, "preprocess", "identity", "log_sign") == "identity":
        return np.reshape(g, (-1, 1))
    p = float(case["p"])
    large = np.abs(getval(g)) >= np.exp(-p)
    safe = np.where(large, g, 1.0)  # keeps log and its derivative finite where it is not used
    first = np.where(large, np.log(np.abs(safe)) / p, -1.0)
    second = np.where(large, np.sign(getval(g)), np.exp(p) * g)
    return np.stack([first, second], axis=1)


def sigmoid(z):
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def unroll(case: Case, phi):
    """All results but derivatives, as one flat vector: theta, val_loss, meta_loss, [h; c]."""
    W_x, W_h, b, w_o, b_o = cut(phi, [case[field].shape for field in FIELDS])
    train, val = task_loss(case, "train"), task_loss(case, "val")
    g = gradient_or_estimate(case, train)
    theta, h, c = case["theta_0"], case["h_0"], case["c_0"]
    thetas, losses, meta_loss = [theta], [], 0.0
    for k, weight in enumerate(case["weights"]):
        gates = np.dot(preprocess(case, g(theta, k)), W_x) + np.dot(h, W_h) + b
        i, f, candidate, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
        h = sigmoid(o) * np.tanh(c)
        theta = theta - float(case["output_scale"]) * (np.dot(h, w_o) + b_o)
        thetas.append(theta)
        losses.append(val(theta))
        meta_loss = meta_loss + weight * losses[-1]
    state = np.concatenate([h, c], axis=1)
    return np.concatenate([*thetas, np.array(losses), np.array([meta_loss]), np.ravel(state)])


def recompute(case: Case) -> dict[str, numpy.ndarray]:
    """Every result of the format, from the inputs in `case`; G and H where `case` has them."""
    d, n = case["h_0"].shape
    steps = len(case["weights"])
    phi = numpy.concatenate([numpy.ravel(case[field]) for field in FIELDS])
    pull_back, flat = make_vjp(lambda phi: unroll(case, phi))(phi)
    unit = numpy.eye(len(flat))
    shapes = [(steps + 1, d), (steps,), (), (d, 2 * n)]
    results = dict(zip(("theta", "val_loss", "meta_loss"), cut(flat, shapes)[:3], strict=True))
    at_meta, at_state = (steps + 1) * d + steps, (steps + 1) * d + steps + 1
    pieces = cut(pull_back(unit[at_meta]), [case[field].shape for field in FIELDS])
    for field, piece in zip(FIELDS, pieces, strict=True):
        results["grad_" + field] = piece
    if "G" in case:
        results["G"] = numpy.stack([pull_back(unit[steps * d + i]) for i in range(d)])
    if "H" in case:
        rows = [pull_back(row) for row in unit[at_state:]]
        results["H"] = numpy.stack(rows).reshape(d, 2 * n, len(phi))
    return results


def error(expected: numpy.ndarray, found: numpy.ndarray, floor: float) -> float:
    """Norm of the difference over norm of the expected array; infinite if it cannot be taken."""
    if expected.shape != found.shape or not numpy.all(numpy.isfinite(expected)):
        return float("inf")
    scale = max(float(numpy.linalg.norm(expected)), floor)
    value = float(numpy.linalg.norm(numpy.asarray(found) - expected)) / scale
    return float("inf") if numpy.isnan(value) else value


def check(path: str) -> bool:
    with numpy.load(path, allow_pickle=False) as file:
        case = {name: file[name] for name in file.files}
    choice(case, "format", "lft-vectors-1")
    results = recompute(case)
    whole = numpy.concatenate([case[name].ravel() for name in GROUPS["grad"]])
    floors = {"grad": max(SHARE * float(numpy.linalg.norm(whole)), FLOOR)}
    errors = {
        group: max(error(case[name], results[name], floors.get(group, FLOOR)) for name in names)
        for group, names in GROUPS.items()
        if names[0] in results
    }
    good = max(errors.values()) <= TOLERANCE
    listed = "  ".join(f"{group} {value:.1e}" for group, value in errors.items())
    print(f"{path}  {'ok' if good else 'FAILED'}  {listed}")
    return good


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    verdicts = [check(path) for path in sys.argv[1:]]
    sys.exit(0 if all(verdicts) else 1)
