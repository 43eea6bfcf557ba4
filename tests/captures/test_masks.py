"""Masks: the guided filter, the person's edge, head against torso."""

import numpy as np
import pytest

from jaxhead.captures.masks import guided_filter, person_mask, resize_float, solve3, split_masks
from jaxhead.captures.split import SplitCollector, face_coordinates, head_share

SIZE = 128


def test_solve3_against_numpy():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(50, 3, 3))
    matrix = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(3)
    right = rng.normal(size=(50, 3))
    expected = np.linalg.solve(matrix, right[..., None])[..., 0]
    upper = {(i, j): matrix[:, i, j] for i in range(3) for j in range(i, 3)}
    found = np.stack(solve3(upper, list(right.T)), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_guided_filter_reproduces_what_is_affine_in_the_guide():
    guide = np.random.default_rng(1).uniform(size=(24, 24, 3))
    values = guide @ [0.2, -0.5, 0.9] + 0.3
    np.testing.assert_allclose(guided_filter(guide, values, 3, 1e-9), values, atol=1e-5)


def test_guided_filter_keeps_a_constant():
    guide = np.random.default_rng(1).uniform(size=(24, 24, 3))
    filtered = guided_filter(guide, np.full((24, 24), 0.4), 4, 1e-3)
    np.testing.assert_allclose(filtered, 0.4, atol=1e-6)


def subject():
    """A head with skin and hair over dark clothes before a wall, and 468 landmarks on its face."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    frame = np.full((SIZE, SIZE, 3), (90, 140, 200), float)
    hair = ((x - 64) / 30) ** 2 + ((y - 44) / 36) ** 2 < 1
    face = ((x - 64) / 20) ** 2 + ((y - 52) / 26) ** 2 < 1
    neck = (np.abs(x - 64) < 12) & (y > 70) & (y < 92)
    clothes = (y > 88 + np.abs(x - 64) * 0.15) & (np.abs(x - 64) < 56)
    for area, colour in (
        (hair, (90, 60, 30)),
        (neck, (205, 160, 130)),
        (clothes, (40, 40, 70)),
        (face, (215, 170, 140)),
    ):
        frame[area] = colour
    frame = np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)
    person = hair | face | neck | clothes
    marks = np.stack([rng.uniform(46, 82, 468), rng.uniform(28, 76, 468)], 1)
    marks[10], marks[152] = (64, 26), (64, 78)
    return frame, person, clothes & ~face, marks


def test_the_persons_edge_follows_the_picture():
    frame, person, _, _ = subject()
    coarse = resize_float(person.astype(np.float32), 32)
    refined = person_mask(frame, coarse)
    blurred = resize_float(coarse, SIZE)
    assert np.abs(refined - person).mean() < 0.75 * np.abs(blurred - person).mean()
    assert refined.min() >= 0 and refined.max() <= 1


def test_clothes_are_torso_and_skin_and_hair_are_head():
    frame, person, clothes, marks = subject()
    mask = person.astype(np.float32)
    collector = SplitCollector()
    collector.add(frame, mask, marks)
    share = head_share(collector.model(), frame, mask, marks)
    assert (share[person & ~clothes] > 0.5).mean() > 0.95
    assert (share[clothes] < 0.5).mean() > 0.95


def test_without_clothes_in_sight_the_place_decides():
    frame, person, _, marks = subject()
    share = head_share(SplitCollector().model(), frame, person.astype(np.float32), marks)
    assert np.isfinite(share).all() and share[50, 64] > 0.9 and share[126, 64] < 0.2


@pytest.mark.parametrize("degrees", [0, 20])
def test_face_coordinates(degrees):
    angle = np.radians(degrees)
    down = np.array([-np.sin(angle), np.cos(angle)])
    marks = np.zeros((468, 2))
    marks[10], marks[152] = (64, 40), np.array([64, 40]) + 40 * down
    below, aside = face_coordinates(marks, SIZE)
    x, y = (marks[152] + 20 * down).astype(int)
    assert abs(below[y, x] - 0.5) < 0.04 and abs(aside[y, x]) < 0.04


def test_head_and_torso_sum_to_the_person():
    rng = np.random.default_rng(0)
    person, head = rng.uniform(size=(2, 8, 8))
    masks = split_masks(person, head).astype(int)
    assert (
        masks.shape == (8, 8, 3)
        and np.abs(masks[..., 1] + masks[..., 2] - masks[..., 0]).max() <= 1
    )
