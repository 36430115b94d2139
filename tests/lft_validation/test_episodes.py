"""Few-shot tasks: N classes labelled anew, disjoint D_tr and D_val, keyed draws, split classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_backends.backend import get_backend
from lft_backends.draws import Stage
from lft_ref import cnn
from lft_validation import episodes
from lft_validation.datasets import Dataset
from lft_validation.datasets_formats import Images
from lft_validation.episodes import KEYS, Episodes, check_episodes, draw, draw_one, make_pool
from lft_validation.errors import UserError
from tests.helpers import examples

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
HOST = get_backend("numpy")
TASKS, INIT = Stage.FEWSHOT_META_TASK, Stage.FEWSHOT_META_INIT


def own(classes=7, each=9, side=2, split="train"):
    """Images whose pixels say their number and nothing else; classes of unequal size."""
    labels = np.concatenate([np.full(each + c, 3 * c) for c in range(classes)])
    pixels = np.zeros((len(labels), 1, side, side), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = labels, np.arange(len(labels)) % 256
    return make_pool(Dataset("own", split, Images(pixels, labels), 255, "", False))


def number(x):
    """Which image it is, after scaling to [0, 255]."""
    return np.round(x[..., 0, 0, 1]).astype(int)


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    ways=st.integers(2, 7),
    shots=st.integers(1, 5),
    query=st.integers(1, 4),
)
def test_a_task_has_its_classes_in_both_sets_and_no_image_twice(seed, ways, shots, query):
    some = Episodes("digits", ways, shots, query, box=(0.0, 255.0))
    x, x_val = draw_one(some, own(), np.random.default_rng(seed))
    assert x.shape == (ways * shots, 1, 2, 2)
    assert x_val.shape == (ways * query, 1, 2, 2)
    train = x[:, 0, 0, 0].reshape(ways, shots)
    val = x_val[:, 0, 0, 0].reshape(ways, query)
    for row in (*train, *val):
        assert len(set(row)) == 1  # one class after the other
    np.testing.assert_array_equal(train[:, 0], val[:, 0])  # the same ones in the same order
    assert len(set(train[:, 0])) == ways
    numbers = [*number(x), *number(x_val)]
    assert len(set(numbers)) == len(numbers)


def test_every_class_and_image_is_drawn_in_any_place():
    some, images = Episodes("digits", 3, 2, 2, box=(0.0, 255.0)), own()
    rng = np.random.default_rng(0)
    drawn = [draw_one(some, images, rng) for _ in range(300)]
    first = {int(x[0, 0, 0, 0]) for x, _ in drawn}
    assert first == {0, 3, 6, 9, 12, 15, 18}
    total = images.dataset.images.number
    for which in (0, 1):
        assert {int(i) for d in drawn for i in number(d[which])} == set(range(total))


def test_classes_are_labelled_anew_and_images_scaled_to_the_box():
    train, val = draw(Episodes("digits", 3, 2, 4, box=(-1.0, 3.0)), HOST, 0, TASKS, [0, 1])
    np.testing.assert_array_equal(train.y, [[0, 0, 1, 1, 2, 2]] * 2)
    np.testing.assert_array_equal(val.y[1], np.repeat([0, 1, 2], 4))
    assert train.y.dtype == np.int64
    assert (train.x.min(), train.x.max()) == (-1.0, 3.0)
    assert get_backend("numpy", "float32").asarray(train.x).dtype == np.float32


def test_a_task_depends_on_its_number_seed_stage_and_source_alone():
    some = Episodes("digits", 3, 2, 2)
    together = draw(some, HOST, 0, TASKS, [5, 6, 7])
    alone = draw(some, HOST, 0, TASKS, [6])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a.x[1], b.x[0])
    others = [
        draw(some, HOST, 1, TASKS, [6]),
        draw(some, HOST, 0, Stage.FEWSHOT_TEST_TASK, [6]),
        draw(some, HOST, 0, TASKS, [5]),
    ]
    for other in others:
        assert not np.array_equal(other[0].x, alone[0].x)


def test_more_shots_add_images_to_the_same_task():
    few, many = (
        draw(Episodes("digits", ways=3, shots=k, query=4), HOST, 1, TASKS, [0, 5]) for k in (1, 3)
    )
    np.testing.assert_array_equal(few[1].x, many[1].x)
    np.testing.assert_array_equal(few[0].x, many[0].x[:, ::3])


def test_sources_have_streams_of_their_own():
    network = cnn((1, 8, 8), 2, 4, 3)
    starts = [episodes.initial_weights(network, name, HOST, 0, INIT, [3, 4]) for name in KEYS]
    assert starts[0].shape == (2, network.size)
    assert len({float(row[0]) for start in starts for row in start}) == 2 * len(KEYS)
    alone = episodes.initial_weights(network, KEYS[0], HOST, 0, INIT, [4])
    np.testing.assert_array_equal(alone[0], starts[0][1])


def test_training_and_test_images_serve_meta_training_and_meta_testing():
    sets = {}
    for split in ("train", "test"):
        data, _ = draw(Episodes("digits", 10, 5, 5, split), HOST, 0, TASKS, range(20))
        sets[split] = {x.tobytes() for task in data.x for x in task}
    assert not sets["train"] & sets["test"]


def test_rotations_make_new_classes():
    plain, turned = (Episodes("digits", 7, 1, 1, rotations=r, box=(0, 255)) for r in (False, True))
    images, rng = own(), np.random.default_rng(0)
    corners = np.concatenate([draw_one(turned, images, rng)[0] for _ in range(60)])[:, 0]
    # The second pixel of the first row, which numbers the image, goes around with the turns.
    places = {tuple(np.argwhere(c == c.max())[0]) for c in corners if c.max() > 18}
    assert places == {(0, 1), (0, 0), (1, 0), (1, 1)}
    check_episodes(turned._replace(ways=28, shots=5, query=4), images)
    with pytest.raises(UserError, match="needs 8 classes, but own \\(train\\) has 7"):
        check_episodes(plain._replace(ways=8), images)
    both = [draw_one(e, images, np.random.default_rng(1))[0] for e in (plain, turned)]
    assert not np.array_equal(*both)


BAD = {
    "one class": ({"ways": 1}, "ways must be at least 2, found 1"),
    "no shot": ({"shots": 0}, "shots must be at least 1, found 0"),
    "no query": ({"query": 0}, "query must be at least 1, found 0"),
    "too many classes": ({"ways": 11}, r"needs 11 classes, but digits \(train\) has 10"),
    "too many images": (
        {"shots": 30, "query": 7, "split": "test"},
        r"needs 30 \+ 7 images of a class, but a class of digits \(test\) has 33; use fewer",
    ),
    "no such source": ({"source": "imagenet"}, "unknown data 'imagenet'"),
    "no such split": ({"split": "val"}, "digits has no split 'val'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_tasks_that_cannot_be_drawn_get_one_sentence(kind):
    changes, message = BAD[kind]
    with pytest.raises(UserError, match=message) as caught:
        draw(Episodes("digits")._replace(**changes), HOST, 0, TASKS, [0])
    assert "\n" not in caught.value.message
