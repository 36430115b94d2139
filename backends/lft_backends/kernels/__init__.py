"""Fused twins of the functions in ``lft_ref.ops``."""

LARGEST_P = 80.0  # kernels multiply by e^p, which float32 has up to p = 88
