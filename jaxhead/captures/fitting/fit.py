"""A head model fitted to the landmarks of a clip: bundle adjustment over its frames.

First the focal length is guessed on a few frames: each candidate is fitted and the best kept. The
head starts at its mean and at rest, or where a `Guess` says; landmarks place it either way. Then
focal length, identity and all numbers of up to `fitted_frames` training frames are solved together.
At last every frame is fitted with what they share held, a block of frames at a time, so that memory
is bounded however long the clip is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.config import FitConfig
from jaxhead.captures.fitting.marks import Marks, marked_part
from jaxhead.captures.fitting.posing import Body
from jaxhead.captures.fitting.problem import POSE, Guess, Problem, State, make_problem
from jaxhead.captures.fitting.residuals import landmark_errors
from jaxhead.captures.fitting.solver import Solution, solve
from jaxhead.captures.fitting.starting import LEAST_MARKS, guess_of_rows, start_state
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile

_ERRORS = jax.jit(landmark_errors)
_SCOUT_POSE, _SCOUT_ALL = 8, 12


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A fitted clip of N frames, on the host.

    Attributes:
      focal: pixels.
      identity: (I,).
      rotation: (N, 3, 3) head to camera; frames: (N, D) as in `residuals`, of measured frames.
      error: (N,) root mean square distance of the marks that are places on the skin, pixels.
      scale: pixels, what counted as one deviation of a landmark.
      figures: numbers for the report (all JSON values).
    """

    focal: float
    identity: np.ndarray
    rotation: np.ndarray
    frames: np.ndarray
    error: np.ndarray
    scale: float
    figures: dict


def fit_head(
    body: Body,
    marks: Marks,
    landmarks: np.ndarray | RowFile,
    ids: np.ndarray,
    train: np.ndarray,
    height: float,
    config: FitConfig,
    *,
    seen: np.ndarray | None = None,
    guess: Guess | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Returns the fit of a head to a clip.

    Args:
      body: all vertices of the model; marks: where its landmarks are.
      landmarks: (N, 478, 2) MediaPipe's, in pixels around the principal point, measured frames
        only; an array or rows of a file.
      ids: (N,) increasing numbers of those frames.
      train: (N,) bool, the frames that focal length and identity are fitted on.
      height: of the picture in pixels, which the fields of view refer to.
      config: priors and length of the work.
      seen: (N, 478) in [0, 1], how far each landmark counts; all of them by default.
      guess: where to start; by default at the mean head at rest. The priors stay what they are.
      progress: called with (frames done, frames in all).

    Raises:
      InputError: no training frame, or too few landmarks that the model knows.
    """
    if len(marks.observed) < LEAST_MARKS:
        raise InputError(
            f"{len(marks.observed)} landmarks of the head are MediaPipe's, expected at least "
            f"{LEAST_MARKS}"
        )
    if not np.any(train):
        raise InputError("no frame with landmarks among those that train")
    part, few = marked_part(body, marks)
    part, few = jax.tree.map(jnp.asarray, (part, few))

    def observed(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.asarray(landmarks[chosen])[:, marks.observed]
        trust = np.ones(pixels.shape[:2]) if seen is None else seen[chosen][:, marks.observed]
        return pixels.astype(np.float32), trust.astype(np.float32)

    some = spread(np.flatnonzero(train), config.fitted_frames)
    pixels, trust = observed(some)
    scale = config.deviations.mark * face_size(pixels)

    def start(rows: np.ndarray, field: float) -> tuple:
        problem = make_problem(part, few, pixels[rows], trust[rows], ids[some[rows]], scale, config)
        focal = height / 2 / np.tan(np.radians(field) / 2)
        own = guess_of_rows(guess, some[rows])
        return problem, start_state(part, few, pixels[rows], trust[rows], focal, own)

    field, scouted = _scout(start, len(some), config)
    problem, state = start(np.arange(len(some)), field)
    every = np.ones(len(state.shared))
    joint = _posed_first(problem, state, every, config.iterations, config.tolerance)
    shared = np.asarray(joint.state.shared)
    rotation, frames, error = _all_frames(
        part, few, shared, observed, np.asarray(ids), scale, config, guess, progress
    )
    figures = {
        **shared_figures(shared, height),
        "scouted": scouted,
        "landmark_deviation_pixels": float(scale),
        "landmark_error_pixels": float(np.sqrt((error**2).mean())),
        "fitted_frames": len(some),
        "steps": joint.steps,
    }
    return Fit(figures["focal"], shared[1:], rotation, frames, error, float(scale), figures)


def shared_figures(shared: np.ndarray, height: float) -> dict[str, float]:
    """What the report says of the shared numbers (1 + I,) and a picture of `height` pixels."""
    focal = float(np.exp(shared[0]))
    return {
        "focal": focal,
        "vertical_fov_degrees": float(np.degrees(2 * np.arctan(height / 2 / focal))),
        "identity_size": root_mean_square(shared[1:]),
    }


def root_mean_square(numbers: np.ndarray) -> float:
    """Of numbers (n,); 0 where there is none."""
    return float(np.sqrt((numbers**2).mean())) if len(numbers) else 0.0


def face_size(pixels: np.ndarray) -> float:
    """Median over frames of the extent of landmarks (N, M, 2), pixels."""
    return float(np.median(np.ptp(pixels, axis=1).max(-1)))


def mark_errors(problem: Problem, state: State) -> np.ndarray:
    """Returns (N,) root mean square pixels between landmarks and marks, the contour left out."""
    errors = np.asarray(_ERRORS(problem, state))
    skin = np.asarray(problem.trust) * (np.asarray(problem.marks.trust) >= 1)
    return np.sqrt((skin * errors**2).sum(1) / np.maximum(skin.sum(1), 1e-6))


def _scout(start: Callable, count: int, config: FitConfig) -> tuple[float, list]:
    """The field of view in degrees whose fit of a few frames costs least, and all (field, cost)."""
    rows = np.unique(np.linspace(0, count - 1, min(count, config.scout_frames)).astype(int))
    found = []
    for field in config.fields_of_view:
        problem, state = start(rows, field)
        held = np.ones(len(state.shared))
        held[0] = 0
        solution = _posed_first(problem, state, held, _SCOUT_ALL, 1e-3)
        found.append((float(field), solution.cost))
    finite = [pair for pair in found if np.isfinite(pair[1])]
    if not finite:
        raise InputError("the head cannot be fitted to the landmarks: no finite cost")
    return min(finite, key=lambda pair: pair[1])[0], found


def _posed_first(
    problem: Problem, state: State, shared_free: np.ndarray, iterations: int, tolerance: float
) -> Solution:
    """The solution of all numbers after that of the poses alone."""
    free = np.zeros(state.frames.shape[1])
    free[:POSE] = 1
    # Shared numbers are held by their flags: one program serves both solves.
    posed = solve(
        problem, state, free=free, shared_free=np.zeros(len(state.shared)),
        iterations=_SCOUT_POSE, tolerance=1e-3,
    )  # fmt: skip
    return solve(
        problem, posed.state, free=np.ones_like(free), shared_free=shared_free,
        iterations=iterations, tolerance=tolerance,
    )  # fmt: skip


def _all_frames(
    body: Body,
    marks: Marks,
    shared: np.ndarray,
    observed: Callable,
    ids: np.ndarray,
    scale: float,
    config: FitConfig,
    guess: Guess | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation, numbers and landmark error of all frames with the shared numbers held."""
    count, parts = len(ids), []
    size = min(config.block, count)
    stride = max(1, size - config.overlap)
    for first in range(0, max(1, count - (size - stride)), stride):
        # All blocks have one size, so that one program does: the last starts earlier.
        rows = np.arange(max(0, min(first, count - size)), min(first + size, count))
        pixels, trust = observed(rows)
        problem = make_problem(body, marks, pixels, trust, ids[rows], scale, config)
        own = None if guess is None else Guess(shared[1:], guess.numbers[rows])
        state = start_state(body, marks, pixels, trust, float(np.exp(shared[0])), own)
        state = state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            shared=jnp.asarray(shared)
        )
        free = np.zeros(state.frames.shape[1])
        free[:POSE] = 1
        for numbers in (free, np.ones_like(free)):
            state = solve(
                problem, state, free=numbers, shared_free=None,
                iterations=config.iterations, tolerance=config.tolerance,
            ).state  # fmt: skip
        error = mark_errors(problem, state)
        parts.append((rows, np.asarray(state.rotation), np.asarray(state.frames), error))
        if progress is not None:
            progress(int(rows[-1]) + 1, count)
    return _joined(parts, count)


def _joined(parts: list[tuple], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each frame from the block in which it lies farthest from an end."""
    best = np.full(count, -1)
    result: list[np.ndarray] = [np.zeros((count, *part.shape[1:])) for part in parts[0][1:]]
    for rows, *values in parts:
        inner = np.minimum(np.arange(len(rows)), np.arange(len(rows))[::-1])
        # The ends of the clip are no seams.
        inner[rows < len(rows) // 2] += count * (rows[0] == 0)
        inner[rows >= count - len(rows) // 2] += count * (rows[-1] == count - 1)
        better = inner > best[rows]
        best[rows[better]] = inner[better]
        for whole, part in zip(result, values):
            whole[rows[better]] = part[better]
    return result[0], result[1], result[2]


def spread(chosen: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the chosen rows, evenly spread."""
    return chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), most)).astype(int))]
