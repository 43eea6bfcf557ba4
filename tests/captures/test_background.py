"""The clean plate: what is uncovered, and what has to be guessed."""

import numpy as np

from jaxhead.captures.background import BackgroundCollector, clean_plate, fill_holes

SIZE = 64


def wall():
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([x * 3, y * 3, 120 + 0 * x], -1).astype(np.uint8)


def walker(count):
    """A grey person of 20 pixels who crosses the wall."""
    frames, masks = np.tile(wall(), (count, 1, 1, 1)), np.zeros((count, SIZE, SIZE), np.uint8)
    for k in range(count):
        left = 4 + k * 36 // max(1, count - 1)
        frames[k, 20:, left : left + 20] = 77
        masks[k, 20:, left : left + 20] = 255
    return frames, masks


def test_a_person_who_moves_away_uncovers_the_wall():
    plate, share = clean_plate(*walker(9))
    assert share == 1.0
    np.testing.assert_array_equal(plate, wall())


def test_noise_and_a_leaking_mask_do_not_shine_through():
    frames, masks = walker(12)
    frames[3, 40, 2] = 255
    masks[:, :, :] = np.where(masks > 0, 240, 3)
    plate, _ = clean_plate(frames, masks)
    assert np.abs(plate.astype(int) - wall()).max() <= 1


def test_what_is_never_seen_continues_smoothly():
    frames, masks = walker(1)
    plate, share = clean_plate(frames, masks)
    assert 0.5 < share < 0.85
    error = np.abs(plate.astype(int) - wall())
    assert error[masks[0] == 0].max() <= 60 and error[:15].max() <= 1
    assert np.abs(np.diff(plate[40].astype(int), axis=0)).max() < 40


def test_a_person_who_fills_the_picture_leaves_a_colour():
    frames, masks = np.full((2, 8, 8, 3), 90, np.uint8), np.full((2, 8, 8), 255, np.uint8)
    plate, share = clean_plate(frames, masks)
    assert share == 0.0 and (plate == 90).all()


def test_holes_keep_what_is_known_and_constants():
    known = np.ones((32, 32), bool)
    known[8:24, 8:24] = False
    picture = np.full((32, 32, 3), 50.0, np.float32)
    picture[~known] = 999
    np.testing.assert_allclose(fill_holes(picture, known), 50.0, atol=1e-3)


def test_the_collector_is_bounded():
    frames, masks = walker(9)
    collector = BackgroundCollector(900, SIZE)
    for _ in range(100):
        for frame, mask in zip(frames, masks):
            collector.add(frame, mask)
    assert len(collector._frames) <= 48
    assert BackgroundCollector(1000, 2048)._every >= 100
    assert collector.plate()[0].shape == (SIZE, SIZE, 3)
