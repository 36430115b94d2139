"""``lft bench``: the same unroll by this project, JAX and PyTorch, timed side by side."""
