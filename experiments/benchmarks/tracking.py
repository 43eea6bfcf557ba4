"""How far tracked heads are from the truth of synthetic captures, and from landmarks of clips.

    python -m experiments.benchmarks.tracking [CLIP.mp4 ...]

Synthetic people have a head whose every vertex, pose and focal length is known. They are tracked
from exact landmarks with half a pixel of noise and from the landmarks that MediaPipe finds in their
pictures, with a statistical head (the mean head with the proportions as its identity) and as
captures are made by default. Which points of the head MediaPipe's landmarks are is measured on
other people than those that are tracked: the mean over `CALIBRATION`, since each face has its own.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator

import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.crop import Crop
from jaxhead.captures.fitting.pixels import refine_fit
from jaxhead.captures.fitting.sources import fittable_head, read_fittable
from jaxhead.captures.fitting.tracked import Fittable, fit_clip, observe, tracking_of
from jaxhead.captures.following import FaceTrack, follow_face
from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.record import track_face
from jaxhead.captures.synthetic import synthesize
from jaxhead.captures.synthetic_identity import identity_basis
from jaxhead.captures.tracking import Tracking
from jaxhead.captures.writing import project
from jaxhead.files.assets import find_asset
from jaxhead.files.video import decode
from jaxhead.geometry.rasterise import rasterise
from jaxhead.heads.canonical_face import canonical_face
from jaxhead.heads.model import HeadModel, embedded_points
from jaxhead.heads.procedural import procedural_head

FACE = 468
NOISE = 0.5
CALIBRATION = (1, 2, 4, 6)
"""Seeds of people whose landmarks tell where the head has them; 0 is the mean head itself."""


def statistical_head(marks: tuple[np.ndarray, np.ndarray]) -> HeadModel:
    """The mean procedural head with the proportions of synthetic people as identity components.

    Args:
      marks: faces (468,) and weights (468, 3) of MediaPipe's landmarks on it.
    """
    head = procedural_head()
    return head.replace(  # pyright: ignore[reportAttributeAccessIssue]
        identity_basis=identity_basis(head), landmark_faces=marks[0], landmark_weights=marks[1]
    )


def followed(capture: Capture) -> FaceTrack:
    """MediaPipe's landmarks in the pictures of a capture."""
    return follow_face(capture.frame(index) for index in range(len(capture)))


def measured_marks(
    people: Iterable[tuple[Capture, FaceTrack]], head: HeadModel
) -> tuple[np.ndarray, np.ndarray]:
    """Faces (468,) and weights (468, 3) of MediaPipe's landmarks on synthetic heads.

    Each is put on the vertex of the neutral `head` that is nearest to the mean of its places.

    Args:
      people: captures and the landmarks found in their pictures.
      head: what is to be fitted, of the same topology.
    """
    faces, template = np.asarray(head.faces), np.asarray(head.template)
    places = [mark_places(capture, face, template) for capture, face in people]
    nearest = ((np.mean(places, 0)[:, None] - template) ** 2).sum(-1).argmin(1)
    index = np.array([np.flatnonzero((faces == v).any(1))[0] for v in nearest], np.int32)
    corner = (faces[index] == nearest[:, None]).argmax(1)
    return index, np.eye(3, dtype=np.float32)[corner]


def mark_places(capture: Capture, face: FaceTrack, template: np.ndarray) -> np.ndarray:
    """(468, 3) where the landmarks of one person lie on `template`, a mesh of the same topology.

    Each landmark's pixel shows a point of the mesh; the mean of those points, over the frames that
    look into the camera.
    """
    faces = np.asarray(capture.head.faces)
    yaw = np.degrees(np.arctan2(capture.head_to_camera[:, 0, 2], -capture.head_to_camera[:, 2, 2]))
    frames = np.flatnonzero(face.found & (np.abs(yaw) < 8))
    total, count = np.zeros((FACE, 3)), np.zeros(FACE)
    scale = 4
    for frame in frames[:: max(1, len(frames) // 30)]:
        K = np.diag([scale, scale, 1.0]) @ capture.K
        points = capture.vertices[frame] @ capture.head_to_camera[frame, :3, :3].T
        points = points + capture.head_to_camera[frame, :3, 3]
        pixels = points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
        size = (capture.size[0] * scale, capture.size[1] * scale)
        hit, weights, _ = map(np.asarray, rasterise(pixels, points[:, 2], faces, size))
        marks = np.asarray(face.landmarks[frame])[:FACE, :2] * np.array(size[::-1])
        column, row = marks.astype(int).clip(0, np.array(size[::-1]) - 1).T
        seen = hit[row, column] >= 0
        corners = template[faces[hit[row, column]]]
        place = np.einsum("mc,mck->mk", weights[row, column], corners)
        total += np.where(seen[:, None], place, 0)
        count += seen
    return total / np.maximum(count, 1)[:, None]


def exact_landmarks(capture: Capture, marks: tuple, noise: float) -> FaceTrack:
    """The true places of the marks in the pictures, with noise in pixels."""
    rng = np.random.default_rng(0)
    points = np.asarray(true_marks(capture, marks))
    landmarks = np.zeros((len(capture), 478, 3), np.float32)
    for index, place in enumerate(points):
        pixels = project(place, capture.K, capture.head_to_camera[index])
        landmarks[index, :FACE, :2] = pixels + noise * rng.normal(size=pixels.shape)
    landmarks[..., :2] /= np.array(capture.size[::-1])
    count = len(capture)
    return FaceTrack(
        landmarks, np.zeros((count, 52), np.float32), np.ones(count, bool), np.ones(count, int),
        tuple(f"score_{k}" for k in range(52)), capture.size,
    )  # fmt: skip


def true_marks(capture: Capture, marks: tuple) -> np.ndarray:
    """(N, 468, 3) metres in the true head space."""
    faces = jnp.asarray(capture.head.faces)
    return np.asarray(embedded_points(jnp.asarray(capture.vertices), faces, *marks))


def figures(
    capture: Capture, tracked: Tracking, points: np.ndarray, face: FaceTrack, marks: tuple
) -> dict[str, float]:
    """Errors of a tracking against the truth.

    Args:
      capture: synthetic; tracked: of its pictures.
      points: (N, 468, 3) the tracked marks in the tracked head space; marks: the true ones' places.
      face: the landmarks that were fitted.
    """
    truth = true_marks(capture, marks)
    rotation = np.asarray(capture.head_to_camera[:, :3, :3], np.float64)
    seen = face.found
    aligned = similar(points[seen].reshape(-1, 3), truth[seen].reshape(-1, 3))
    error = np.linalg.norm(aligned - truth[seen].reshape(-1, 3), axis=-1)
    relative = np.einsum("nji,njk->nik", rotation, tracked.rotation)[seen]
    constant = relative.mean(0)
    left, _, right = np.linalg.svd(constant)
    constant = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    moved = np.einsum("nij,nmj->nmi", tracked.rotation, points) + tracked.translation[:, None]
    true = np.einsum("nij,nmj->nmi", rotation, truth) + capture.head_to_camera[:, None, :3, 3]
    pixels = tracked.focal * moved[..., :2] / moved[..., 2:]
    centre = np.array(capture.size[::-1]) / 2
    found = np.asarray(face.landmarks)[:, :FACE, :2] * np.array(capture.size[::-1]) - centre
    return {
        "marks_mm": 1e3 * float(error.mean()),
        "turn_degrees": _angle(relative @ constant.T),
        "turn_raw_degrees": _angle(relative),
        "place_mm": 1e3 * float(np.linalg.norm((moved - true).mean(1), axis=-1)[seen].mean()),
        "focal_percent": 100 * float(tracked.focal / capture.K[0, 0] - 1),
        "pixels": float(np.sqrt(((pixels - found)[seen] ** 2).sum(-1).mean())),
    }


def similar(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`points` (P, 3) under the similarity that carries them to `target` best (Umeyama 1991)."""
    mean, goal = points.mean(0), target.mean(0)
    left, size, right = np.linalg.svd((target - goal).T @ (points - mean))
    sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    scale = (size * sign).sum() / ((points - mean) ** 2).sum()
    return scale * (points - mean) @ (left * sign @ right).T + goal


def _angle(rotation: np.ndarray) -> float:
    cosine = (np.trace(rotation, axis1=1, axis2=2) - 1) / 2
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())


def fitted(
    face: FaceTrack,
    fittable: Fittable,
    frames: Callable[[], Iterable[np.ndarray]],
) -> dict[str, tuple[Tracking, HeadModel]]:
    """The tracking of a clip and the subject's head, by landmarks and after its pixels."""
    clip = observe(face)
    fit = fit_clip(clip, fittable)
    side = min(face.size)
    crop = Crop((face.size[1] - side) // 2, (face.size[0] - side) // 2, side, side)
    refined, _ = refine_fit(fit, clip, fittable, crop, frames)
    return {
        "landmarks": tracking_of(fit, clip, fittable),
        "photometric": tracking_of(refined, clip, fittable),
    }


def marked(vertices: np.ndarray, head: HeadModel) -> np.ndarray:
    """(N, L, 3) the landmarks of a head on vertices (N, V, 3)."""
    points = embedded_points(
        jnp.asarray(vertices), head.faces, head.landmark_faces, head.landmark_weights
    )
    return np.asarray(points)


def synthetic_rows(
    seeds: tuple[int, ...], folder: pathlib.Path, frames: int, size: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """(label, figures) per person, landmarks and tracker."""
    fittable, marks = calibrated(folder, frames, size)
    canonical = canonical_face(find_asset("face_landmarker", None))
    for seed in seeds:
        capture = synthetic_person(folder, seed, frames, size)
        detected = followed(capture)
        exact = exact_landmarks(capture, marks, NOISE)
        shown = [capture.frame(index) for index in range(len(capture))]
        for name, face in (("exact", exact), ("detected", detected)):
            for kind, (tracked, head) in fitted(face, fittable, shown.__iter__).items():
                points = marked(np.asarray(tracked.vertices), head)
                yield f"{seed} {name} {kind}", figures(capture, tracked, points, face, marks)
        tracked = track_face(detected, canonical, folder)
        found = figures(capture, tracked, np.asarray(tracked.vertices), detected, marks)
        yield f"{seed} detected default", found


def calibrated(folder: pathlib.Path, frames: int, size: int) -> tuple[Fittable, tuple]:
    """The statistical head with MediaPipe's landmarks, measured on the people of `CALIBRATION`."""
    people = (synthetic_person(folder, seed, frames, size) for seed in CALIBRATION)
    marks = measured_marks(
        ((person, followed(person)) for person in people), procedural_head()
    )
    return fittable_head(statistical_head(marks)), marks


def clip_rows(path: str, fittable: Fittable) -> Iterator[tuple[str, dict[str, float]]]:
    """(label, figures) of a real clip per tracker.

    Pixels are of 256 per side of the clip: between landmarks and posed marks, and between landmarks
    and the marks that scores alone give. The jitter is the rms second difference of the rotation.
    """
    name = pathlib.Path(path).stem
    face = follow_face(decode(path, fps=25.0))
    canonical = canonical_face(find_asset("face_landmarker", None))
    tracked = track_face(face, canonical, None)
    numbers = np.arange(FACE)
    yield f"{name} default", clip_figures(
        tracked, np.asarray(tracked.vertices), _linear(tracked), face, numbers
    )
    pictures = list(decode(path, fps=25.0))
    for kind, (tracked, head) in fitted(face, fittable, pictures.__iter__).items():
        posed, linear = (
            marked(np.asarray(v, np.float32), head) for v in (tracked.vertices, _linear(tracked))
        )
        numbers = np.asarray(fittable.marks.observed)[: posed.shape[1]]
        yield f"{name} {kind}", clip_figures(tracked, posed, linear, face, numbers)


def _linear(tracked: Tracking) -> np.ndarray:
    return tracked.neutral + np.einsum("ne,evk->nvk", tracked.scores, tracked.basis, optimize=True)


def clip_figures(
    tracked: Tracking, posed: np.ndarray, linear: np.ndarray, face: FaceTrack, numbers: np.ndarray
) -> dict[str, float]:
    """Reprojection errors of marks (N, L, 3), focal length and jitter of a tracked clip."""
    unit = min(face.size) / 256
    found = np.asarray(tracked.pixels)[:, numbers] - np.array(face.size[::-1]) / 2
    errors = []
    for points in (posed, linear):
        moved = np.einsum("nij,nmj->nmi", tracked.rotation, points)
        moved = moved + tracked.translation[:, None]
        error = tracked.focal * moved[..., :2] / moved[..., 2:] - found
        errors.append(float(np.sqrt((error[face.found] ** 2).sum(-1).mean()) / unit))
    turn = Rotation.from_matrix(tracked.rotation[1:] @ np.swapaxes(tracked.rotation[:-1], 1, 2))
    return {
        "pixels": errors[0],
        "scores_pixels": errors[1],
        "fov_degrees": float(np.degrees(2 * np.arctan(face.size[0] / 2 / tracked.focal))),
        "jitter_degrees": float(np.degrees(np.sqrt((np.diff(turn.as_rotvec(), axis=0) ** 2)
                                                   .sum(-1).mean()))),
    }


def synthetic_person(folder: pathlib.Path, seed: int, frames: int, size: int) -> Capture:
    """The synthetic capture of a person, made in `folder` where it is not there yet."""
    path = folder / f"s{seed}"
    if not path.is_dir():
        synthesize(path, frames=frames, size=size, seed=seed, novel_frames=0)
    return load_capture(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="*", default=[3, 5])
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--folder", help="where synthetic captures are kept")
    parser.add_argument("--head", help="KIND:PATH of the head for clips, else the synthetic one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(given.folder or temporary)
        if given.seeds:
            print_rows(synthetic_rows(tuple(given.seeds), folder, given.frames, given.size))
        if given.clips:
            fittable = (
                read_fittable(given.head) if given.head
                else calibrated(folder, given.frames, given.size)[0]
            )
        for clip in given.clips:
            print_rows(clip_rows(clip, fittable))


def print_rows(rows: Iterator[tuple[str, dict[str, float]]]) -> None:
    """Prints a table, each row when it is known."""
    for number, (label, row) in enumerate(rows):
        if not number:
            print(f"{'':28}" + "".join(f"{name:>18}" for name in row))
        print(f"{label:28}" + "".join(f"{value:18.3f}" for value in row.values()), flush=True)


if __name__ == "__main__":
    main()
