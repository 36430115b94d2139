"""Draws depend on their key alone."""

from __future__ import annotations

import numpy as np
import pytest

from lft_backends.draws import Stage, directions, stream

FIRST_OF_PHI = [0.8121998784279898, -0.482516200766292]


def test_equal_keys_give_equal_draws_and_other_keys_others():
    base = stream(1, Stage.META_TASK, 2, 3).standard_normal(4)
    np.testing.assert_array_equal(base, stream(1, Stage.META_TASK, 2, 3).standard_normal(4))
    for key in [
        (2, Stage.META_TASK, 2, 3),
        (1, Stage.META_INIT, 2, 3),
        (1, Stage.META_TASK, 3, 3),
        (1, Stage.META_TASK, 2, 4),
    ]:
        assert not np.array_equal(base, stream(*key).standard_normal(4))


def test_streams_keep_their_numbers_across_releases():
    first = stream(0, Stage.PHI).uniform(-1, 1, 2)
    np.testing.assert_allclose(first, FIRST_OF_PHI, rtol=0, atol=0)


def test_sphere_directions_have_length_one_and_coordinate_directions_are_the_unit_vectors():
    u = directions(0, Stage.CASE, 0, 0, 5, 7, "sphere")
    np.testing.assert_allclose(np.linalg.norm(u, axis=-1), 1.0, rtol=1e-15)
    np.testing.assert_array_equal(directions(0, Stage.CASE, 0, 0, 3, 3, "coordinate"), np.eye(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, Stage.CASE, 0, 0, 0, 3), "q and d must be at least 1"),
        ((0, Stage.CASE, 0, 0, 2, 3, "coordinate"), "need q = d = 3"),
        ((0, Stage.CASE, 0, 0, 2, 3, "cube"), "found 'cube'"),
        ((-1, Stage.CASE, 0, 0, 2, 3), "must be >= 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        directions(*arguments)
