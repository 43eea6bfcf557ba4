"""A made-up model in FLAME's files: 5023 vertices, 9976 faces, every key, none of FLAME's numbers.

    path = write_flame(folder)

writes generic_model.pkl as Python 2 and chumpy wrote it, the landmark embedding with tensors in
it, MediaPipe's embedding, eyelids and masks. The skin is the procedural head's form on a grid of
3931 vertices, two spheres of 546 are the eyeballs: FLAME's counts and its Euler numbers. The first
expression components are the procedural head's (the jaw's is left to the joint), the others smooth
noise.
"""

import functools
import pathlib

import numpy as np
import scipy.sparse
from files import python2
from files.torch_pickles import packed, tensor_in_pickle

from jaxhead.heads.expressions import fields, jaw_share
from jaxhead.heads.sculpture import EYE_CENTRE, EYE_RADIUS, head_distance

COLUMNS = 60
RINGS = 65
JOINTS_CM = np.array([[0, -12, -6.5], [0, -6, -5.5], [0, 0.4, -3.4]])
_CENTRE = np.array([0.0, 3.0, -3.0])
# iBUG's 68 on the procedural head, in cm: those of the right half of the picture follow by mirror.
# fmt: off
_INNER = {
    17: (-6.0, 4.9, 2.0), 18: (-5.2, 5.4, 3.3), 19: (-4.1, 5.5, 4.2), 20: (-2.9, 5.3, 4.7),
    21: (-1.6, 4.9, 5.0), 27: (0, 3.2, 5.2), 28: (0, 2.0, 5.8), 29: (0, 0.7, 6.5),
    30: (0, -0.6, 7.4), 31: (-1.5, -1.7, 5.5), 32: (-0.8, -2.0, 6.0), 33: (0, -2.1, 6.3),
    36: (-4.6, 2.6, 3.2), 37: (-3.7, 3.2, 4.0), 38: (-2.6, 3.2, 4.1), 39: (-1.7, 2.5, 3.9),
    40: (-2.6, 2.1, 4.0), 41: (-3.7, 2.1, 3.9),
    48: (-2.5, -4.2, 4.6), 49: (-1.5, -3.8, 5.4), 50: (-0.6, -3.5, 5.8), 51: (0, -3.6, 5.9),
    57: (0, -5.3, 5.8), 58: (-0.8, -5.2, 5.7), 59: (-1.7, -4.9, 5.3),
    60: (-2.2, -4.2, 4.8), 61: (-0.8, -4.1, 5.6), 62: (0, -4.15, 5.7), 66: (0, -4.25, 5.7),
    67: (-0.8, -4.3, 5.6),
}
_MIRROR = {
    22: 21, 23: 20, 24: 19, 25: 18, 26: 17, 34: 32, 35: 31, 42: 39, 43: 38, 44: 37, 45: 36, 46: 41,
    47: 40, 52: 50, 53: 49, 54: 48, 55: 59, 56: 58, 63: 61, 64: 60, 65: 67,
}
_MEDIAPIPE = {  # numbers of MediaPipe's mesh at some of the 68
    70: 17, 63: 18, 105: 19, 66: 20, 107: 21, 336: 22, 296: 23, 334: 24, 293: 25, 300: 26,
    168: 27, 197: 28, 5: 29, 4: 30, 75: 31, 97: 32, 2: 33, 326: 34, 305: 35, 33: 36, 160: 37,
    158: 38, 133: 39, 153: 40, 144: 41, 362: 42, 385: 43, 387: 44, 263: 45, 373: 46, 380: 47,
    61: 48, 39: 49, 37: 50, 0: 51, 267: 52, 269: 53, 291: 54, 405: 55, 314: 56, 17: 57, 84: 58,
    181: 59, 78: 60, 82: 61, 13: 62, 312: 63, 308: 64, 317: 65, 14: 66, 87: 67,
}
# fmt: on


def _rings(first: int, counts: list[int]) -> np.ndarray:
    """Faces of a pole `first` and rings of `counts` vertices that follow; outward if each ring goes
    to the left as it is seen from outside with the pole on top.
    """
    faces, start = [], first + 1
    ring = start + np.arange(counts[0])
    faces.append(np.stack([np.full_like(ring, first), ring, np.roll(ring, -1)], 1))
    for count in counts[1:]:
        start += len(ring)
        below = start + np.arange(count)
        step = count // len(ring)
        a, b = ring, np.roll(ring, -1)
        for part in range(step):
            c, d = below[part::step], np.roll(below, -1)[part::step]
            faces.append(np.stack([a, c, d], 1))
        faces.append(np.stack([a, np.roll(below, -step)[::step], b], 1))
        ring = below
    return np.concatenate(faces)


def _skin() -> np.ndarray:
    """(3931, 3) cm: the crown, a ring of 30, 65 rings of 60 down to the neck."""
    share = np.linspace(0, 1, RINGS + 1)[1:]
    polar = np.radians(np.interp(share, [0, 0.3, 0.62, 1], [8, 55, 90, 90]))
    height = np.interp(share, [0, 0.62, 1], [0, 0, -19.0])
    polar, height = np.concatenate([[0, 4 / 57], polar]), np.concatenate([[0, 0], height])
    points = []
    for number, (tilt, drop) in enumerate(zip(polar, height)):
        count = {0: 1, 1: 30}.get(number, COLUMNS)
        # The front, where the grid is dense, is at angle 0; angles grow to the subject's left.
        place = np.arange(count) / max(count, 1) * 2 * np.pi
        angle = place - 0.45 * np.sin(place)
        direction = np.stack(
            [np.sin(tilt) * np.sin(angle), np.full(count, np.cos(tilt)),
             np.sin(tilt) * np.cos(angle)], 1)  # fmt: skip
        origin = _CENTRE + [0, drop, min(0.0, 0.2 * drop)]
        points.append(_cast(np.broadcast_to(origin, direction.shape), direction))
    return np.concatenate(points)


def _cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    reach = np.full(len(origin), 1.0)
    for _ in range(45):
        reach -= 0.85 * head_distance(origin + reach[:, None] * direction)
    return origin + reach[:, None] * direction


def _ball(centre: np.ndarray) -> np.ndarray:
    """(546, 3): the front pole, 17 rings of 32, the back pole."""
    polar = np.arange(1, 18) / 18 * np.pi
    angle = np.arange(32) / 32 * 2 * np.pi
    rings = np.stack([
        np.sin(polar)[:, None] * np.cos(angle), np.sin(polar)[:, None] * np.sin(angle),
        np.repeat(np.cos(polar)[:, None], 32, 1)], -1).reshape(-1, 3)  # fmt: skip
    return centre + EYE_RADIUS * np.concatenate([[[0, 0, 1]], rings, [[0, 0, -1]]])


def _ball_faces(first: int) -> np.ndarray:
    front = _rings(first, [32] * 17)
    last = first + 1 + 16 * 32 + np.arange(32)
    back = np.stack([np.full(32, first + 545), np.roll(last, -1), last], 1)
    return np.concatenate([front, back])


@functools.cache
def flame_like(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of the model file, plain: f, v_template, shapedirs, posedirs, J_regressor,
    kintree_table, weights.
    """
    skin, left = _skin(), EYE_CENTRE
    right = left * [-1, 1, 1]
    points = np.concatenate([skin, _ball(left), _ball(right)])
    faces = np.concatenate(
        [_rings(0, [30] + [COLUMNS] * RINGS), _ball_faces(3931), _ball_faces(4477)]
    )
    joints = np.concatenate([JOINTS_CM, [left, right]])
    weights = _weights(points)
    shapes = np.concatenate([_noise(points, 300, seed, 0.25), _expressions(points, seed)])
    poses = _noise(points, 36, seed + 2, 0.05) * (weights[:, 2] > 0.02)[:, None]
    return {
        "f": faces.astype(np.uint32),
        "v_template": points / 100,
        "shapedirs": np.moveaxis(shapes, 0, -1) / 100,
        "posedirs": np.moveaxis(poses, 0, -1) / 100,
        "J_regressor": _regressor(points, joints),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": weights,
    }


def _weights(points: np.ndarray) -> np.ndarray:
    side = np.sign(points[:, 1] + 4.2)
    weights = np.zeros((len(points), 5))
    weights[:3931, 2] = jaw_share(points[:3931], side[:3931])
    weights[:3931, 0] = np.clip((-9 - points[:3931, 1]) / 5, 0, 1)
    weights[:3931, 1] = (1 - weights[:3931, [0, 2]].sum(1)).clip(0)
    weights[3931:4477, 3] = weights[4477:, 4] = 1
    return weights / weights.sum(1, keepdims=True)


def _noise(points: np.ndarray, count: int, seed: int, size: float) -> np.ndarray:
    """(count, V, 3) cm of smooth fields whose size falls with their number."""
    rng = np.random.default_rng(seed)
    number = np.arange(count)
    waves = rng.normal(size=(count, 3)) * (0.08 + 0.02 * np.sqrt(number))[:, None]
    phase = np.sin(points @ waves.T + rng.uniform(0, 2 * np.pi, count))
    way = rng.normal(size=(count, 3)) * (size / (1 + number) ** 0.5)[:, None]
    return phase.T[:, :, None] * way[:, None, :]


def _expressions(points: np.ndarray, seed: int) -> np.ndarray:
    """(100, V, 3) cm: the named fields of the skin but the jaw's, then noise."""
    basis = _noise(points, 100, seed + 1, 0.05)
    side = np.sign(points[:3931, 1] + 4.2)
    named = [field for name, field in fields().items() if not name.startswith("jaw")]
    for row, field in enumerate(named):
        basis[row] = 0
        basis[row, :3931] = 0.7 * field(points[:3931], side)
    return basis


def _regressor(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(5, V), sparse: every joint is a combination, of sum one, of vertices around it."""
    result = np.zeros((5, len(points)))
    for row, joint in enumerate(joints):
        if row > 2:
            chosen = np.arange(3931 + 546 * (row - 3), 3931 + 546 * (row - 2))
        else:
            chosen = np.argsort(np.abs(points[:3931, 1] - joint[1]))[:COLUMNS]
        system = np.concatenate([points[chosen].T, np.ones((1, len(chosen)))])
        even = np.full(len(chosen), 1 / len(chosen))
        wanted = np.append(joint, 1.0) - system @ even
        result[row, chosen] = even + np.linalg.lstsq(system, wanted, rcond=None)[0]
    return result


def landmarks_cm() -> np.ndarray:
    """(70, 3) targets of iBUG's 68 and two irises, right eye first, before they are on the skin."""
    result = np.zeros((70, 3))
    result[:17] = _contour(0.0)
    for number, place in _INNER.items():
        result[number] = place
    for number, other in _MIRROR.items():
        result[number] = result[other] * [-1, 1, 1]
    result[68] = EYE_CENTRE * [-1, 1, 1] + [0, 0, EYE_RADIUS]
    result[69] = EYE_CENTRE + [0, 0, EYE_RADIUS]
    return result


def _contour(yaw: float) -> np.ndarray:
    """(17, 3) cm: the jaw line from the right ear over the chin to the left one, moved by yaw."""
    share = np.linspace(-1, 1, 17)
    angle = np.radians(80 * share + 0.4 * yaw * (1 - share**2))
    height = np.interp(np.abs(share), [0, 0.4, 0.7, 1], [-9.2, -7.6, -4.8, 2.0])
    return np.stack([7.0 * np.sin(angle), height, 7 * np.cos(angle) - 3.5], 1)


def _embed(points: np.ndarray, faces: np.ndarray, targets: np.ndarray) -> tuple:
    """Faces and weights of the face centres next to `targets`, moved towards their first corner."""
    centres = points[faces].mean(1)
    index = np.array([((centres - target) ** 2).sum(1).argmin() for target in targets])
    return index, np.tile([0.5, 0.3, 0.2], (len(index), 1))


@functools.cache
def embeddings(*, eyes: bool = True) -> dict[str, np.ndarray]:
    """The six arrays of landmark_embedding.npy, with or without irises; seeds change no mesh."""
    model = flame_like()
    points, faces = 100 * np.asarray(model["v_template"]), model["f"].astype(np.int64)
    skin = faces[(faces < 3931).all(1)]
    index, weights = _embed(points, skin, landmarks_cm()[:68])
    if eyes:
        balls = [np.flatnonzero((faces == first).any(1))[0] for first in (4477, 3931)]
        index = np.concatenate([index, balls])
        weights = np.concatenate([weights, np.tile([1.0, 0, 0], (2, 1))])
    rows = [*range(40), *range(-1, -40, -1)]
    moved = [_embed(points, skin, _contour(yaw)) for yaw in rows]
    return {
        "static_lmk_faces_idx": index[17:],
        "static_lmk_bary_coords": weights[17:],
        "dynamic_lmk_faces_idx": np.stack([part[0] for part in moved]),
        "dynamic_lmk_bary_coords": np.stack([part[1] for part in moved]).astype(np.float32),
        "full_lmk_faces_idx": index[None],
        "full_lmk_bary_coords": weights[None].astype(np.float32),
    }


def masks(model: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Vertex numbers of parts under FLAME's names."""
    x, y, z = (100 * np.asarray(model["v_template"])[:3931]).T
    eyes = (np.abs(np.abs(x) - 3.1) < 1.8) & (np.abs(y - 2.6) < 1.2) & (z > 2)
    parts = {
        "face": (z > -1) & (y > -9.5) & (y < 8.5),
        "scalp": (y > 8.5) | ((z < -3) & (y > -2)),
        "neck": (y < -9.5),
        "left_ear": (np.hypot(y - 0.6, z + 4.4) < 2.6) & (x > 5),
        "right_ear": (np.hypot(y - 0.6, z + 4.4) < 2.6) & (x < -5),
        "lips": (np.hypot(x / 2.6, (y + 4.4) / 1.2) < 1) & (z > 4),
        "left_eye_region": eyes & (x > 0),
        "right_eye_region": eyes & (x < 0),
        "eye_region": eyes,
        "boundary": np.arange(3931) >= 3931 - COLUMNS,
    }
    found = {name: np.flatnonzero(where) for name, where in parts.items()}
    return found | {
        "left_eyeball": np.arange(3931, 4477), "right_eyeball": np.arange(4477, 5023)
    }  # fmt: skip


def eyelids(model: dict[str, np.ndarray]) -> np.ndarray:
    """(2, V, 3) metres: the upper lid of the left, then of the right eye, comes down."""
    x, y, z = (100 * np.asarray(model["v_template"])).T
    result = np.zeros((2, len(x), 3))
    for row, side in enumerate((1, -1)):
        share = np.exp(-((side * x - 3.15) ** 2) / 1.5 - (y - 3.2) ** 2 / 0.3) * (z > 2)
        result[row, :, 1] = -0.008 * share * (np.arange(len(x)) < 3931)
    return result


def write_flame(
    folder: pathlib.Path, *, seed: int = 0, eyes: bool = True, beside: bool = True
) -> pathlib.Path:
    """Writes the model file, and what lies beside it; returns the model's path.

    Args:
        folder: is made.
        seed: of the made-up components.
        eyes: name and content of the landmark file: with irises or without.
        beside: also landmarks, eyelids, masks and MediaPipe's embedding.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = flame_like(seed)
    content = dict(model)
    for key in ("v_template", "shapedirs", "posedirs", "weights"):
        content[key] = python2.chumpy(model[key])
    content["J_regressor"] = scipy.sparse.csc_matrix(model["J_regressor"])
    content["J"] = python2.chumpy(model["J_regressor"] @ model["v_template"])
    content |= {"bs_style": "lbs", "bs_type": "lrotmin"}
    path = folder / "generic_model.pkl"
    path.write_bytes(python2.dumps(content))
    if not beside:
        return path
    arrays = embeddings(eyes=eyes)
    embedded = dict(arrays)
    for key in ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"):
        embedded[key] = tensor_in_pickle(arrays[key])
    name = "landmark_embedding_with_eyes.npy" if eyes else "landmark_embedding.npy"
    with open(folder / name, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(packed(embedded))
    numbers = np.array(list(_MEDIAPIPE))
    chosen = np.array([_MEDIAPIPE[number] for number in numbers])
    np.savez(
        folder / "mediapipe_landmark_embedding.npz",
        lmk_face_idx=arrays["full_lmk_faces_idx"][0, chosen].astype(np.uint32),
        lmk_b_coords=arrays["full_lmk_bary_coords"][0, chosen].astype(np.float64),
        landmark_indices=numbers,
    )
    for side, lid in zip("lr", eyelids(model)):
        np.save(folder / f"{side}_eyelid.npy", lid)
    (folder / "FLAME_masks.pkl").write_bytes(python2.dumps(masks(model)))
    return path
