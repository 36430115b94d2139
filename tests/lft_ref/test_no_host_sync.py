"""Nothing within K steps looks at a value, which on a GPU would wait for all work before it.

array-api-strict's second device shows arrays that go astray, but lets ``float(x)`` and ``if x:``
pass; the arrays used here do not.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from lft_ref import adjoint, forward_mode
from tests.device_array import DeviceArray, HostTouched, to_device, to_host
from tests.helpers import assert_close
from tests.lft_ref.test_array_api import CALLS, LOOKS_AT_VALUES, arguments
from tests.random_cases import ESTIMATORS, OBJECTIVES, random_case


def moved(tree, convert):
    """Convert all arrays of nested tuples and lists."""
    if isinstance(tree, np.ndarray | np.generic):
        return convert(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(moved(leaf, convert) for leaf in tree))
    return (
        type(tree)(moved(leaf, convert) for leaf in tree) if type(tree) in (tuple, list) else tree
    )


def leaves(tree):
    if isinstance(tree, tuple | list):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [tree] if isinstance(tree, np.ndarray) else []


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(float, id="float(x)"),
        pytest.param(bool, id="bool(x)"),
        pytest.param(int, id="int(x)"),
        pytest.param(list, id="list(x)"),
        pytest.param(lambda a: a.item(), id="x.item()"),
        pytest.param(math.sqrt, id="math.sqrt(x)"),
        pytest.param(lambda a: 1 if a > 0 else 2, id="if x > 0"),
        pytest.param(lambda a: max(a, a + 1), id="max(x, y)"),
        pytest.param(lambda a: range(3)[a.astype("int64")], id="an index"),
    ],
)
def test_every_way_to_look_is_noticed(look):
    for a in (to_device(np.ones(())), np.sum(to_device(np.ones(3))), to_device(np.ones(2))[0]):
        assert type(a) is DeviceArray
        with pytest.raises(HostTouched):
            look(a)


@pytest.mark.parametrize("name", sorted(set(CALLS) - LOOKS_AT_VALUES))
def test_public_functions_do_not_look(name):
    host = arguments()
    CALLS[name]({key: moved(value, to_device) for key, value in host.items()})


@pytest.mark.parametrize("name", sorted(LOOKS_AT_VALUES))
def test_fine_tuning_a_loss_of_ones_own_looks(name):
    with pytest.raises(HostTouched):
        CALLS[name]({key: moved(value, to_device) for key, value in arguments().items()})


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_engines_do_not_look(objective, estimator, m):
    case = random_case(3, objective, estimator, m=m, batch=(2,), truncate=2)
    for engine in (adjoint, forward_mode):
        got, want = engine(*moved(case, to_device)), engine(*case)
        for a, b in zip(leaves(got), leaves(want), strict=True):
            assert_close(to_host(a), b, 1e-12)
