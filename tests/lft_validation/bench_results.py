"""Results of ``lft bench`` without any measuring, for tests of what is made of them."""

from __future__ import annotations

from lft_validation.bench.contestant import FUSED, ON_GPU, PLAIN
from lft_validation.bench.run import CaseResult, Row

TORCH = "PyTorch eager (d, n)"


def case_result(case="quadratic", d=20_000, dtype="float32", **ratios):
    """One case whose contestants took so many times as long as the fused backend."""
    family = dict.fromkeys((FUSED, ON_GPU, PLAIN), "lft_ref") | {TORCH: "torch"}
    rows = [
        Row(name, family.get(name, "jax"), 0.0, True, 1.0, 0.9, 1.1, 1.0, 100.0, r, r, r)
        for name, r in ratios.items()
    ]
    return CaseResult(case, case, dtype, d, 1, 20, 10, 1e-5, 5, FUSED, rows, [], (1e-9, 2e-9))
