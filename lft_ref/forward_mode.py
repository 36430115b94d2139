"""Statement 1: the meta-gradient by forward recursion of G = ∂θ/∂Φ and H = ∂h/∂Φ.

Memory does not grow with K, and every term of the paper can be looked at; the price is work in
proportion to |Φ|. Columns of Φ are independent of one another, so they can be done block by block.
"""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array, device, namespace
from lft_ref.checks import check_task
from lft_ref.checks_settings import check_optional_counts, check_weights
from lft_ref.lstm import LSTMState, initial_state
from lft_ref.meta_gradient import MetaGradient, is_boundary, weighted_sum
from lft_ref.params import Columns, LSTMParams, all_columns, column_blocks, size, unflatten
from lft_ref.tasks import Task, directions_at
from lft_ref.unroll import FineTuner


class ForwardState(NamedTuple):
    """What one step hands to the next."""

    theta: Array  # (..., d)
    state: LSTMState
    G: Array  # (..., d, P): ∂θ^(k)/∂Φ, or a block of its columns
    H: Array  # (..., d, 2n, P): ∂h_k/∂Φ, rows h first, then c


def initial_forward_state(
    params: LSTMParams, theta_0: Array, state_0: LSTMState | None, columns: Columns
) -> ForwardState:
    """θ^(0), h_0, and G^(0) = 0, H^(0) = 0 for a block of columns of Φ."""
    xp = namespace(theta_0)
    n, P = params.n, columns.width(params.n)
    like = {"dtype": theta_0.dtype, "device": device(theta_0)}
    G = xp.zeros((*theta_0.shape, P), **like)
    H = xp.zeros((*theta_0.shape, 2 * n, P), **like)
    return ForwardState(theta_0, state_0 or initial_state(theta_0, n), G, H)


def forward_step(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    k: int,
    at: ForwardState,
    columns: Columns | None = None,
) -> ForwardState:
    """One fine-tuning step (3) together with (8) and (9): from step k to step k + 1.

    (9) is taken with H^(k), as derived in (S7), not with the H^(k−1) that is printed.

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        task: one task, or many along batch axes.
        k: how many steps have been done, from 0.
        at: θ^(k), h_k, G and H.
        columns: the block of Φ's columns that G and H hold; None for all.
    """
    f, u, xp = task.objective, directions_at(task, k), namespace(at.theta)
    g = tuner.estimator.estimate(f, at.theta, task.train, u)
    delta, state = tuner.ops.step(params, tuner.cell, g, at.state)
    if tuner.second_order:
        columns_of_G = xp.moveaxis(at.G, -1, 0)  # (P, ..., d): P directions at once
        G_dot = tuner.estimator.jvp(f, at.theta, task.train, u, columns_of_G)
        G_dot = xp.moveaxis(G_dot, 0, -1)  # ∂g/∂θ • G
    else:
        G_dot = xp.zeros_like(at.G)
    G, H = tuner.ops.forward_update(
        params,
        tuner.cell,
        g,
        at.state,
        at.G,
        G_dot,
        at.H,
        columns or all_columns(params.m, params.n),
    )
    return ForwardState(at.theta - delta, state, G, H)


def forward_mode(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state_0: LSTMState | None = None,
    truncate: int | None = None,
    rows_per_block: int | None = None,
) -> MetaGradient:
    """∇_Φ Σ_k w_k f(θ^(k); D_val), eq. (5), by Statement 1 and the product (7).

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        task: one task, or a batch of tasks on leading axes.
        weights: w_1 … w_K, so K steps are unrolled.
        state_0: the cell's state to start from; zero if None.
        truncate: set G and H to zero every so many steps; never if None.
        rows_per_block: how many of the m + n + 1 rows of stacked (W_x; W_h; b) are carried at once;
            fewer need less memory and unroll again for each block. None for all.

    Returns:
        Meta-loss and gradient of each task; θ^(K) and h_K to go on from.

    Raises:
        ValueError: if shapes, dtypes, weights, ``truncate`` or ``rows_per_block`` do not fit.
    """
    check_weights(weights)
    check_optional_counts(truncate=truncate, rows_per_block=rows_per_block)
    check_task(params, tuner.cell, tuner.estimator, task, len(weights), state_0)
    m, n, xp = params.m, params.n, namespace(task.theta_0)
    blocks = column_blocks(m, n, rows_per_block or m + n + 1)
    results = [_one_block(params, tuner, task, weights, state_0, truncate, b) for b in blocks]
    flat = xp.concat([grad for grad, _ in results], axis=-1)
    return results[0][1]._replace(grad=unflatten(flat, m, n))


def _one_block(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state_0: LSTMState | None,
    truncate: int | None,
    columns: Columns,
) -> tuple[Array, MetaGradient]:
    """The entries ``columns`` of the flattened ∇_Φ, and everything else but the gradient."""
    at = initial_forward_state(params, task.theta_0, state_0, columns)
    xp = namespace(at.theta)
    flat, val_losses = 0.0 * at.G[..., 0, :], []
    for k, w in enumerate(weights):
        if is_boundary(k, truncate):
            at = at._replace(G=xp.zeros_like(at.G), H=xp.zeros_like(at.H))
        at = forward_step(params, tuner, task, k, at, columns)
        val_losses.append(task.objective.value(at.theta, task.val))
        if w != 0.0:
            grad = task.objective.grad(at.theta, task.val)
            flat = flat + w * (grad[..., None, :] @ at.G)[..., 0, :]  # (7)
    val_loss = xp.stack(val_losses, axis=0)
    return flat, MetaGradient(weighted_sum(weights, val_loss), val_loss, params, at.theta, at.state)


def memory_bytes(
    d: int, m: int, n: int, itemsize: int = 8, tasks: int = 1, rows_per_block: int | None = None
) -> int:
    """Estimate the peak memory of :func:`forward_mode` in bytes.

    Five arrays of the size of H live together when (9) is summed: H before, Π_Φ, Π_h • H, Π_g • Ġ
    and a partial sum; and some of the size of G.

    Example:
        >>> memory_bytes(d=784, m=2, n=10) // 2**20  # MiB, a 28 x 28 perturbation
        343
    """
    P = size(m, n) if rows_per_block is None else 4 * n * rows_per_block + n + 1
    return tasks * d * min(P, size(m, n)) * (5 * 2 * n + 8) * itemsize
