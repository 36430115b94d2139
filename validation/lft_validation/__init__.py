"""Experiments, gradient checks, test vectors and the ``lft`` command."""
