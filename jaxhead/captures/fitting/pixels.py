"""The fit of a clip refined on its pictures: what `photometric` needs, made of a fit and a clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import jax.numpy as jnp
import numpy as np
from scipy.spatial import Delaunay  # pyright: ignore[reportAttributeAccessIssue]

from jaxhead.captures.crop import Crop
from jaxhead.captures.fitting.fit import (
    Fit,
    mark_errors,
    root_mean_square,
    shared_figures,
)
from jaxhead.captures.fitting.marks import Marks
from jaxhead.captures.fitting.photometric import (
    PhotometricConfig,
    Refinement,
    refine_frames,
)
from jaxhead.captures.fitting.posing import baked
from jaxhead.captures.fitting.problem import State, make_problem
from jaxhead.captures.fitting.skin import Window, skin_of
from jaxhead.captures.fitting.tracked import Clip, Fittable, near_marks
from jaxhead.captures.unwrap import Surface, surface_points
from jaxhead.captures.validate import MEASURED

_STRIDE = 4


def refine_fit(
    fit: Fit,
    clip: Clip,
    fittable: Fittable,
    crop: Crop,
    frames: Callable[[], Iterable[np.ndarray]],
    config: PhotometricConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Fit, Refinement]:
    """Returns the fit with poses and faces refined on the pixels, and what that found.

    Args:
      fit: of the measured frames of the clip; fittable: the head.
      crop: the stored window of the clip.
      frames: gives the (H, W, 3) uint8 full frames of the clip, anew at each call.
      config: settings.
      progress: called with (pictures done, pictures in all).
    """
    config = config or PhotometricConfig()
    measured = clip.status == MEASURED
    ids = np.flatnonzero(measured)
    window = dataclasses.replace(crop, size=min(config.size, crop.side // 4 * 4))

    def pictures() -> Iterator[np.ndarray]:
        for index, frame in enumerate(frames()):
            if index < len(measured) and measured[index]:
                yield window.resample(frame).astype(np.float32) / 255

    body = fittable.body
    faces = np.asarray(fittable.head.faces)
    template = np.asarray(baked(body, fit.identity).template)
    surface = surface_points(template, faces, within_marks(fittable.marks, template).astype(float))
    surface = Surface(*(part[::_STRIDE] for part in dataclasses.astuple(surface)))
    skin, marks = skin_of(body, fittable.marks, surface, faces, config.local)
    centre = np.array(clip.size[::-1], np.float64) / 2
    centred = np.asarray(clip.pixels[ids])[:, fittable.marks.observed] - centre
    priors = dataclasses.replace(fittable.config, independent_frames=config.independent_frames)
    problem = make_problem(
        skin.body, marks, centred, np.ones(centred.shape[:2]), ids, fit.scale, priors
    )
    shift = window.points(centre)
    shared = np.concatenate([[np.log(fit.focal)], fit.identity]).astype(np.float32)
    found = refine_frames(
        pictures, skin, Window(jnp.float32(window.scale), jnp.asarray(shift, jnp.float32)),
        problem, shared, fit.rotation, fit.frames, clip.train[ids], config, progress=progress,
    )  # fmt: skip
    state = State(jnp.asarray(found.shared), jnp.asarray(found.rotation), jnp.asarray(found.frames))
    error = mark_errors(problem, state)
    identity = found.shared[1:].astype(np.float64)
    figures = {
        "colour_cost_before": float(found.before.mean()),
        "colour_cost_after": float(found.after.mean()),
        "landmark_error_before_pixels": float(np.sqrt((fit.error**2).mean())),
        "landmark_error_after_pixels": float(np.sqrt((error**2).mean())),
        "landmark_cost_ratio": float(found.landmarks_after.sum() / found.landmarks_before.sum()),
        "focal_before": fit.focal,
        "identity_moved": root_mean_square(identity - fit.identity),
        "colour_spread": float(found.appearance.spread),
        "refined_share": float((found.after < found.before).mean()),
        "light": np.asarray(found.appearance.light, np.float64).round(4).tolist(),
    }
    whole = {**shared_figures(found.shared, clip.size[0]), "photometric": figures}
    refined = dataclasses.replace(
        fit, focal=whole["focal"], identity=identity, rotation=found.rotation.astype(np.float64),
        frames=found.frames.astype(np.float64), error=error, figures={**fit.figures, **whole},
    )  # fmt: skip
    return refined, found


def within_marks(marks: Marks, template: np.ndarray) -> np.ndarray:
    """Returns (V,) bool, the vertices near a mark and, from the front, within their outline.

    A neck stays behind when the head turns, and hair stands off the skin: neither is on the mesh.
    """
    points = template[np.unique(np.asarray(marks.corners)), :2]
    outline = Delaunay(points)
    return near_marks(marks, template) & (outline.find_simplex(template[:, :2]) >= 0)
