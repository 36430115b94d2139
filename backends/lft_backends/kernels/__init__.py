"""Fused twins of the functions in ``lft_ref.ops``."""
