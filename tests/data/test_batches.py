"""Faces are handed out once a pass, in an order that follows from a seed; and the columns they come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import faces_of, refusal
from efface.data.batches import Batch, BatchLoader, as_input, derive
from efface.data.faces import FaceTable, Images, Splits, together

FACES = faces_of({"A": 10}, photos=3)
CPU = torch.device("cpu")


def order(batches: Iterable[Batch]) -> list[int]:
    """Rows in the order they were handed out."""
    return [row for batch in batches for row in batch.rows.tolist()]


def test_a_pass_hands_out_every_face_once_and_shuffled() -> None:
    found = order(BatchLoader(CPU, 0)(FACES, batch=7))
    assert sorted(found) == list(range(30))
    assert found != sorted(found)


def test_a_batch_holds_the_images_and_targets_of_its_rows() -> None:
    for batch in BatchLoader(CPU, 0)(FACES, batch=7):
        assert torch.equal(batch.images, as_input(FACES.images[batch.rows], CPU))
        assert np.array_equal(batch.targets.numpy(), FACES.targets[batch.rows])


def test_the_order_follows_from_the_seed() -> None:
    first, again, other = (order(BatchLoader(CPU, seed)(FACES)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_every_pass_has_another_order_and_can_be_repeated() -> None:
    loader = BatchLoader(CPU, 0)
    first, second = order(loader(FACES)), order(loader(FACES))
    assert first != second
    resumed = BatchLoader(CPU, 0)
    resumed.passes = 1
    assert order(resumed(FACES)) == second
    assert loader.passes == resumed.passes == 2


def test_weighted_draws_come_in_proportion_and_as_many_as_there_are_faces() -> None:
    loader, weights = BatchLoader(CPU, 0), np.repeat([0.0, 1.0, 3.0], 10)
    passes = [order(loader(FACES, weights=weights)) for _ in range(200)]
    assert {len(drawn) for drawn in passes} == {30}
    times = np.bincount(np.concatenate(passes), minlength=30).reshape(3, 10).sum(1) / 6000
    assert times[0] == 0
    assert times[1:] == pytest.approx([0.25, 0.75], abs=0.03)


def test_every_face_handed_out_is_counted_and_ticked() -> None:
    ticks: list[int] = []
    loader = BatchLoader(CPU, 0, ticks.append)
    sizes = [len(batch.rows) for _ in range(2) for batch in loader(FACES, batch=8)]
    assert sizes == [8, 8, 8, 6] * 2
    assert ticks == sizes
    assert loader.faces_used == 60


def test_passes_side_by_side_are_changed_apart_from_each_other() -> None:
    loader = BatchLoader(CPU, 0)
    first, second = (loader(FACES, batch=30, augment="flip") for _ in range(2))
    mirrored = [
        [
            not torch.equal(image, as_input(FACES.images[[row]], CPU)[0])
            for row, image in zip(b.rows, b.images, strict=True)
        ]
        for b in (next(first), next(second))
    ]
    assert mirrored[0] != mirrored[1]
    whole, begun = BatchLoader(CPU, 3), BatchLoader(CPU, 3)
    one, other = whole(FACES, batch=10, augment="flip"), begun(FACES, batch=10, augment="flip")
    next(one), next(other)
    next(begun(FACES))
    assert torch.equal(next(one).images, next(other).images), "a pass that begins elsewhere changes nothing"


def test_passes_over_watched_faces_are_those_handed_out_however_they_come() -> None:
    loader, mine, others = BatchLoader(CPU, 0), FACES[np.arange(12)], FACES[np.arange(12, 30)]
    assert loader.passes_over_watched is None
    loader.watch(mine)
    list(loader(together(mine, others), batch=7))
    list(loader(others))
    loader.fetch(mine, np.array([0, 0, 5]))
    foreign = replace(mine, images=Images(mine.images.store.copy(), mine.images.rows))
    list(loader(foreign))
    assert loader.passes_over_watched == pytest.approx(1 + 3 / 12)
    other = loader.afresh()
    assert (other.passes_over_watched, other.passes) == (0, 0)
    list(other(mine[np.arange(6)]))
    loader.add(other)
    assert loader.passes_over_watched == pytest.approx(1.75)
    assert loader.faces_used == 30 + 18 + 3 + 12 + 6


def test_a_last_batch_of_one_joins_no_pass() -> None:
    loader = BatchLoader(CPU, 0)
    assert [len(batch.rows) for batch in loader(FACES, batch=29)] == [29]
    assert loader.faces_used == 29
    assert [len(batch.rows) for batch in loader(FACES[np.array([3])])] == [1]


def test_batches_of_one_hand_out_every_face() -> None:
    assert sorted(order(BatchLoader(CPU, 0)(FACES, batch=1))) == list(range(30))


def test_no_faces_make_no_batch() -> None:
    assert order(BatchLoader(CPU, 0)(FACES[np.array([], int)])) == []


def test_bytes_become_numbers_from_minus_one_to_one_channels_last() -> None:
    images = np.array([0, 255, 51, 102], np.uint8).reshape(1, 1, 2, 2).repeat(3, 1)
    found = as_input(images, CPU)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found[0, 1].flatten().tolist() == pytest.approx([-1, 1, -0.6, -0.2])


def test_every_use_of_a_seed_has_a_seed_of_its_own() -> None:
    names: list[tuple[object, ...]] = [(), ("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a1",)]
    uses = [derive(seed, *name) for seed in (0, 1) for name in names]
    assert len(set(uses)) == len(uses)
    assert derive(0, "a") == uses[1]
    assert all(0 <= use < 2**48 for use in uses)


# Faces


def test_some_faces_share_the_store_of_all_and_copy_no_image() -> None:
    some = FACES[np.array([4, 2])][np.array([1])]
    assert some.images.store is FACES.images.store
    assert some.keys.tolist() == [FACES.keys[2]]
    assert np.array_equal(some.images[:], FACES.images.store[[2]])
    assert np.array_equal(some.targets, FACES.targets[[2]])
    assert (len(some), len(some.images), some.images.shape, some.shape) == (1, 1, (1, 1, 8, 8), (1, 8, 8))


def test_a_mask_picks_the_marked_faces() -> None:
    mask = FACES.identities == "A3"
    assert FACES[mask].keys.tolist() == ["A3/0", "A3/1", "A3/2"]
    assert np.array_equal(FACES[mask].images[:], FACES.images.store[9:12])


def test_both_parts_come_together_in_the_order_they_were_gathered_in() -> None:
    whole = together(FACES[np.arange(1, 30, 2)], FACES[np.arange(0, 30, 2)])
    assert np.array_equal(whole.keys, FACES.keys)
    assert np.array_equal(whole.images[:], FACES.images.store)
    assert np.array_equal(whole.targets, FACES.targets)


def test_faces_of_two_gatherings_do_not_come_together() -> None:
    other = replace(FACES, images=Images(FACES.images.store.copy(), FACES.images.rows))
    with pytest.raises(ValueError, match="two gatherings"):
        together(FACES, other)


def test_a_method_sees_three_splits_and_no_other() -> None:
    parts = [FACES[np.array([row])] for row in range(8)]
    splits = Splits(*parts)
    assert [name for name, _ in splits.items()] == [
        "forget",
        "forget_unseen",
        "retain",
        "retain_unseen",
        "public",
        "val",
        "strangers",
        "test",
    ]
    assert list(vars(splits.data).values()) == [parts[0], parts[2], parts[4], None, None, {}, (), {}]


@pytest.mark.parametrize(
    ("count", "columns", "words"),
    [
        (3, {"key": ["a", "b"], "person": ["x", "y"]}, "3 images but 2 rows"),
        (2, {"key": ["a", "b"]}, "needs a column 'person'; it has key"),
        (2, {"person": ["a", "b"]}, "needs a column 'key'"),
        (3, {"key": ["b", "a", "b"], "person": ["x", "y", "z"]}, "key 'b' stands 2 times"),
    ],
)
def test_an_album_is_refused_that_does_not_fit(count: int, columns: dict[str, list[str]], words: str) -> None:
    assert words in refusal(FaceTable, np.zeros((count, 1, 4, 4), np.uint8), pd.DataFrame(columns))


def test_an_album_is_as_long_as_its_table() -> None:
    assert (
        len(FaceTable(np.zeros((2, 1, 4, 4), np.uint8), pd.DataFrame({"key": ["a", "b"], "person": ["x", "x"]}))) == 2
    )
