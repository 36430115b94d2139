"""Check lft-vectors-1 files with NumPy and PyTorch (float64, CPU) alone.

    python check_with_torch.py FILE.npz...

Every result in a file is recomputed from the file's inputs: the fine-tuning steps use PyTorch's
own LSTM cell and losses, and PyTorch differentiates through all of them.  Prints one line per
file with the relative error of each group of arrays; exits 1 if any exceeds 1e-9.
"""

import sys
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 1e-9
FLOOR = 1e-30  # least scale that an error is measured against
# One of the five gradients can be zero but for rounding (grad_b_o, where a common shift of theta
# leaves a cross-entropy as it is), so their scale is at least this part of the whole gradient's.
SHARE = 1e-2
PHI = ["W_x", "W_h", "b", "w_o", "b_o"]
LOSSES: dict[str, Callable[..., Tensor]] = {
    "mlp_mse": F.mse_loss,
    "mlp_cross_entropy": F.cross_entropy,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}

Loss = Callable[[Tensor], Tensor]


class Case:
    """The arrays of one file, as texts, numbers and tensors."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def text(self, name: str, *allowed: str) -> str:
        found = str(self.arrays[name])
        if found not in allowed:
            raise ValueError(f"{name} is {found!r}, expected one of {allowed}")
        return found

    def tensor(self, name: str, dtype: type = np.float64) -> Tensor:
        return torch.tensor(self.arrays[name].astype(dtype))

    def number(self, name: str) -> float:
        return float(self.arrays[name])


def quadratic_loss(case: Case, part: str) -> Loss:
    A, b = case.tensor(part + "_A"), case.tensor(part + "_b")
    return lambda theta: (A @ theta - b).square().sum() / (2 * b.numel())


def network_loss(case: Case, part: str, objective: str) -> Loss:
    classes = objective == "mlp_cross_entropy"
    x = case.tensor(part + "_x")
    y = case.tensor(part + "_y", np.int64 if classes else np.float64)
    sizes = case.tensor("layer_sizes", np.int64).tolist()
    activation = ACTIVATIONS[case.text("activation", "relu", "tanh")]
    reduction = case.text("reduction", "sum", "mean")

    def loss(theta: Tensor) -> Tensor:
        rest, signal = theta, x
        for number, (n_in, n_out) in enumerate(pairwise(sizes)):
            weight, bias, rest = rest.tensor_split([n_in * n_out, n_in * n_out + n_out])
            signal = signal if number == 0 else activation(signal)
            signal = signal @ weight.reshape(n_in, n_out) + bias
        if rest.numel() or (not classes and signal.shape != y.shape):
            raise ValueError(f"theta {theta.shape}, layers {sizes}, {part}_y {y.shape}")
        return LOSSES[objective](signal, y, reduction=reduction)

    return loss


def task_loss(case: Case, part: str) -> Loss:
    objective = case.text("objective", "quadratic", *LOSSES)
    if objective == "quadratic":
        return quadratic_loss(case, part)
    return network_loss(case, part, objective)


def gradient(case: Case, loss: Loss, theta: Tensor, step: int) -> Tensor:
    """g(theta): the gradient of the training loss, or the estimate (6) with the step's u_j."""
    keep = bool(case.arrays["second_order"])
    at = theta if keep else theta.detach().requires_grad_()
    if case.text("estimator", "first_order", "zeroth_order") == "first_order":
        (g,) = torch.autograd.grad(loss(at), at, create_graph=keep)
    else:
        mu, U = case.number("mu"), case.tensor("directions")[step]
        values = torch.stack([loss(at + mu * u) for u in U])
        g = U.T @ (values - loss(at)) / (mu * len(U))
    return g if keep else g.detach()


def cell_input(case: Case, g: Tensor) -> Tensor:
    if case.text("preprocess", "identity", "log_sign") == "identity":
        return g[:, None]
    p = case.number("p")
    small = g.abs() < np.exp(-p)
    log = g.masked_fill(small, 1.0).abs().log() / p  # log 1 where unused: no infinity, no NaN
    return torch.stack(
        [log.masked_fill(small, -1.0), torch.where(small, np.exp(p) * g, g.sign())], dim=1
    )


def run(case: Case, phi: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """theta (K+1, d), val_loss (K,), meta_loss (), and [h, c] (d, 2n) at step K."""
    W_x, W_h, b, w_o, b_o = phi
    train, val = task_loss(case, "train"), task_loss(case, "val")
    weights, scale = case.tensor("weights"), case.number("output_scale")
    theta, state = case.tensor("theta_0").requires_grad_(), (case.tensor("h_0"), case.tensor("c_0"))
    thetas, losses = [theta], []
    for step in range(len(weights)):
        x = cell_input(case, gradient(case, train, theta, step))
        state = torch.lstm_cell(x, state, W_x.T, W_h.T, b, torch.zeros_like(b))
        theta = theta - scale * (state[0] @ w_o + b_o)
        thetas.append(theta)
        losses.append(val(theta))
    val_loss = torch.stack(losses)
    return torch.stack(thetas), val_loss, weights @ val_loss, torch.cat(state, dim=1)


def recompute(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every result of the format, from the inputs alone; G and H where `arrays` has them."""
    case = Case(arrays)
    phi = [case.tensor(name).requires_grad_() for name in PHI]
    theta, val_loss, meta_loss, state = run(case, phi)

    def derivative(value: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(value, phi, retain_graph=True, materialize_grads=True)

    def jacobian(values: Tensor) -> Tensor:
        rows = [torch.cat([part.reshape(-1) for part in derivative(v)]) for v in values.reshape(-1)]
        return torch.stack(rows).reshape(*values.shape, -1)

    results = {"theta": theta, "val_loss": val_loss, "meta_loss": meta_loss}
    results |= dict(zip(["grad_" + name for name in PHI], derivative(meta_loss), strict=True))
    if "G" in arrays:
        results["G"] = jacobian(theta[-1])
    if "H" in arrays:
        results["H"] = jacobian(state)
    return {name: value.detach().numpy() for name, value in results.items()}


def relative_error(expected: np.ndarray, found: np.ndarray, floor: float) -> float:
    """Norm of the difference over norm of the expected array; infinite if it cannot be taken."""
    if expected.shape != found.shape or not np.isfinite(expected).all():
        return float("inf")
    scale = max(float(np.linalg.norm(expected)), floor)
    error = float(np.linalg.norm(found - expected)) / scale
    return float("inf") if np.isnan(error) else error


def check(path: str) -> bool:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    Case(arrays).text("format", "lft-vectors-1")
    whole = np.sqrt(sum(float(np.sum(arrays["grad_" + name] ** 2)) for name in PHI))
    errors: dict[str, float] = {}
    for name, found in recompute(arrays).items():
        group = "grad" if name.startswith("grad_") else name
        floor = max(SHARE * whole, FLOOR) if group == "grad" else FLOOR
        error = relative_error(arrays[name], found, floor)
        errors[group] = max(errors.get(group, 0.0), error)
    good = max(errors.values()) <= TOLERANCE
    listed = "  ".join(f"{group} {error:.1e}" for group, error in errors.items())
    print(f"{path}  {'ok' if good else 'FAILED'}  {listed}")
    return good


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    torch.set_num_threads(1)
    verdicts = [check(path) for path in sys.argv[1:]]
    sys.exit(0 if all(verdicts) else 1)
