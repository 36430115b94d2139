"""Gradient checking, term by term and step by step: ``lft gradcheck``, and for tests of one's own.

    from lft_validation.gradcheck import assert_gradients

    def test_my_gradient():
        assert_gradients(MyTask())

See docs/gradient_checking.md.
"""

from __future__ import annotations

from typing import Any

__all__ = ["assert_gradients"]


def assert_gradients(
    task: Any,
    *,
    gradient: Any = None,
    hvp: Any = None,
    jacobians: Any = None,
    vjp: Any = None,
    seed: int = 0,
    tolerance: float | None = None,
) -> None:
    """Check a task of one's own with every estimator and preprocessing, for use in a test.

    Args:
        task: an object with theta_0, train, val, value(theta, data), and optionally
            grad(theta, data), hvp(theta, data, v) and parameters {name: shape}.
        gradient: a gradient to check instead of the task's.
        hvp: a Hessian-vector product to check instead of the task's.
        jacobians: a function to check in the place of :func:`lft_ref.jacobians`.
        vjp: a function to check in the place of :func:`lft_ref.vjp`.
        seed: of Φ and of the directions.
        tolerance: relative error that passes; 1e-8 if None, or 1e-5 where autograd cannot read
            ``value`` and differences stand in.

    Raises:
        AssertionError: with the report of ``lft gradcheck``, if a term is wrong.
        UserError: if the task cannot be checked.
    """
    from lft_validation.gradcheck.builtin import ESTIMATORS, PREPROCESSINGS, Setting
    from lft_validation.gradcheck.own_pieces import with_own_pieces
    from lft_validation.gradcheck.rows import Own, own_problem, quiet_check
    from lft_validation.gradcheck.tables import as_text

    name = getattr(task, "__name__", type(task).__name__)
    for index, estimator in enumerate(ESTIMATORS):
        for preprocess in PREPROCESSINGS:
            setting = Setting(name, estimator, preprocess, second_order=True)
            own = Own(gradient, hvp)
            right = own_problem(task, setting, seed, index, own=own)
            problem = with_own_pieces(right, jacobians, vjp)
            if tolerance is not None:
                problem = problem._replace(tolerance=tolerance)
            report = quiet_check(problem, right, seed)
            if not report.passed:
                __tracebackhide__ = True  # pytest shows the line of the test, not this one
                raise AssertionError(as_text(report))
