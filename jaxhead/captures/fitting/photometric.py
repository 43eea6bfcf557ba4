"""Numbers of frames refined on the pixels: albedo, light and every frame's pose and face in turn.

Points that stay on the skin (by triangle and barycentric weights) carry an albedo; what a frame
shows at their projections shall be albedo times shade. Their place and their normal depend on the
frame's numbers through the barycentric interpolation; which of them are seen is decided by the
rasteriser once per round. Landmarks and priors stay in the cost, and a frame whose landmarks would
fit worse than `allowance` permits goes less far or stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from jaxhead.captures.fitting.appearance import Appearance, fit_appearance, shade
from jaxhead.captures.fitting.fit import spread
from jaxhead.captures.fitting.problem import Problem
from jaxhead.captures.fitting.residuals import projected
from jaxhead.captures.fitting.skin import Skin, Window, in_picture, look_up, placed, visible
from jaxhead.geometry.transforms import axis_angle_to_matrix
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
_BATCH = 8
_ALONG = (0.25, 0.5, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotometricConfig:
    """Settings of `refine_frames`.

    Attributes:
      size: side in pixels of the pictures.
      blurs: deviation of the blur in pixels, one round per entry.
      steps: Levenberg-Marquardt steps per round.
      correlated: so many points count as one, since neighbours err alike.
      marks: so many independent landmarks count all of them together.
      robust: deviations at which a point counts half (Cauchy's loss).
      allowance: share by which a frame's landmark cost may rise.
      appearance_frames: most training frames that albedo and light are fitted on.
    """

    size: int = 256
    blurs: tuple[float, ...] = (2.0, 1.0)
    steps: int = 5
    correlated: float = 5.0
    marks: float = 10.0
    robust: float = 2.0
    allowance: float = 0.1
    appearance_frames: int = 96


@dataclasses.dataclass(frozen=True, eq=False)
class Refinement:
    """Refined frames.

    Attributes:
      rotation: (N, 3, 3); frames: (N, D).
      appearance: of the points.
      before, after: (N,) robust colour error; landmarks_before, landmarks_after: (N,) cost.
    """

    rotation: np.ndarray
    frames: np.ndarray
    appearance: Appearance
    before: np.ndarray
    after: np.ndarray
    landmarks_before: np.ndarray
    landmarks_after: np.ndarray


def refine_frames(
    pictures: Callable[[], Iterable[np.ndarray]],
    skin: Skin,
    window: Window,
    problem: Problem,
    shared: Array,
    rotation: np.ndarray,
    frames: np.ndarray,
    training: np.ndarray,
    config: PhotometricConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Refinement:
    """Returns the frames after all rounds.

    Args:
      pictures: gives the (S, S, 3) float32 pictures in [0, 1] of the N frames, anew at each call.
      skin: points, on the subject's body without identity components.
      window: of the pictures.
      problem: the landmarks and priors of all N frames; its body and marks are the skin's body's.
      shared: (1,) log of the focal length in pixels of the full frame.
      rotation, frames: where to start; training: (N,) bool.
      config: settings.
      progress: called with (pictures done, pictures in all).
    """
    rotation, frames = np.array(rotation, np.float32), np.array(frames, np.float32)
    count, rounds = len(frames), len(config.blurs)
    usual = np.isin(np.arange(count), spread(np.flatnonzero(training), config.appearance_frames))
    shared = jnp.asarray(shared, jnp.float32)
    first: dict[str, np.ndarray] = {}
    few = min(1.0, config.marks / problem.pixels.shape[1])
    done = 0
    appearance, found = None, {}
    for blur in config.blurs:
        samples = []
        for ids, batch in _batches(pictures, usual, blur):
            samples.append(_sampled(skin, window, shared, batch, rotation[ids], frames[ids]))
            done += len(ids)
            if progress is not None:
                progress(min(done, usual.sum() * rounds), (int(usual.sum()) + count) * rounds)
        colours, normals, weights = (
            np.concatenate([np.asarray(s[k]) for s in samples])[: int(usual.sum())]
            for k in range(3)
        )
        appearance = _appearance(colours, normals, weights)
        found = {name: np.zeros(count) for name in ("before", "after", "old", "new")}
        for ids, batch in _batches(pictures, np.ones(count, bool), blur):
            own = _rows(problem, ids)
            turned, numbers, costs = _refined(
                own, skin, window, shared, appearance, batch, rotation[ids], frames[ids],
                jnp.float32(config.correlated), jnp.float32(config.robust),
                jnp.float32(config.allowance), jnp.float32(few), steps=config.steps,
            )  # fmt: skip
            rotation[ids], frames[ids] = np.asarray(turned), np.asarray(numbers)
            for name, cost in zip(found, costs):
                found[name][ids] = np.asarray(cost)
        first = first or {"before": found["before"], "old": found["old"]}
    assert appearance is not None
    return Refinement(
        rotation, frames, appearance, found["before"], found["after"], first["old"], found["new"]
    )


def _rows(problem: Problem, ids: np.ndarray) -> Problem:
    return problem.replace(  # pyright: ignore[reportAttributeAccessIssue]
        pixels=problem.pixels[ids], trust=problem.trust[ids], gap=problem.gap[ids]
    )


def _batches(
    pictures: Callable[[], Iterable[np.ndarray]], wanted: np.ndarray, blur: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers (B,) and blurred pictures (B, S, S, 3) of the wanted frames, in batches of one size.

    The last batch repeats its last frame.
    """
    ids: list[int] = []
    batch: list[np.ndarray] = []
    last = int(np.flatnonzero(wanted).max(initial=-1))
    for index, picture in enumerate(pictures()):
        if index > last:
            break
        if not wanted[index]:
            continue
        ids.append(index)
        batch.append(gaussian_filter(picture, (blur, blur, 0), mode="nearest"))
        if len(ids) == _BATCH or index == last:
            short = _BATCH - len(ids)
            yield np.array(ids + ids[-1:] * short), np.stack(batch + batch[-1:] * short)
            ids, batch = [], []


@jax.jit
def _sampled(skin, window, shared, pictures, rotation, frames):
    """Colours (B, P, 3), normals (B, P, 3) and weights (B, P) that frames show."""

    def one(inputs):
        picture, rotation, frame = inputs
        points, normals = placed(skin, rotation, frame)
        weights = visible(skin, window, shared, picture.shape[0], rotation, frame)
        return look_up(picture, in_picture(window, shared, points)), normals, weights

    return jax.lax.map(one, (jnp.asarray(pictures), rotation, frames))


_appearance = jax.jit(fit_appearance)


def _refined(problem, skin, window, shared, appearance, pictures, rotation, frames, correlated,
             robust, allowance, few, *, steps):  # fmt: skip
    """Rotations, numbers and (colour cost before, after, landmark cost before, after)."""

    def one(inputs):
        picture, pixels, trust, rotation, frame = inputs
        seen = visible(skin, window, shared, picture.shape[0], rotation, frame)
        limit = robust**2

        def errors(x):
            points, normals = placed(skin, rotation, x)
            colour = look_up(picture, in_picture(window, shared, points))
            colour = colour - appearance.albedo * shade(appearance.light, normals)
            marks = projected(problem.body, problem.marks, shared, rotation, x) - pixels
            return colour / appearance.spread, marks / problem.scale

        def twice(x):
            found = errors(x)
            return found, found

        def losses(x):
            colour, marks = errors(x)
            weight = seen * appearance.known
            photo = (weight * limit * jnp.log1p((colour**2).sum(-1) / limit)).sum() / correlated
            square = (marks**2).sum(-1) / problem.robust**2
            marked = few * (trust * problem.robust**2 * jnp.log1p(square)).sum()
            # Every frame moves alone: what its neighbours say is that it was about here.
            held = (2 * problem.walk * (x - frame) ** 2).sum()
            prior = (problem.precision * (x - problem.mean) ** 2).sum()
            return jnp.stack([photo, marked, held + prior])

        def step(carry, _):
            x, costs, damping = carry
            (by_colour, by_mark), (colour, marks) = jax.jacfwd(twice, has_aux=True)(x)
            weight = seen * appearance.known / (1 + (colour**2).sum(-1) / limit) / correlated
            trusted = few * trust / (1 + (marks**2).sum(-1) / problem.robust**2)
            normal = jnp.diag(problem.precision + 2 * problem.walk)
            right = problem.precision * (problem.mean - x) + 2 * problem.walk * (frame - x)
            for jacobian, error, mass in ((by_colour, colour, weight), (by_mark, marks, trusted)):
                scaled = jacobian * mass[:, None, None]
                normal += jnp.einsum("pki,pkj->ij", scaled, jacobian, precision=_HIGHEST)
                right -= jnp.einsum("pki,pk->i", scaled, error, precision=_HIGHEST)
            scale = jax.lax.rsqrt(jnp.maximum(jnp.diagonal(normal), 1e-12))
            system = normal * scale[:, None] * scale + damping * jnp.eye(len(x), dtype=x.dtype)
            new = x + scale * jnp.linalg.solve(system, right * scale)
            new = jnp.clip(new, problem.low, problem.high)
            found = losses(new)
            better = found.sum() < costs.sum()
            x, costs = jnp.where(better, new, x), jnp.where(better, found, costs)
            return (x, costs, jnp.where(better, damping / 5, damping * 10)), None

        def backed(carry, share):
            chosen, costs = carry
            candidate = frame + share * (x - frame)
            found = losses(candidate)
            fine = (found[0] <= costs[0]) & (found[1] <= (1 + allowance) * start[1])
            return (jnp.where(fine, candidate, chosen), jnp.where(fine, found, costs)), None

        start = losses(frame)
        (x, _, _), _ = jax.lax.scan(step, (frame, start, jnp.float32(1e-2)), None, length=steps)
        shares = jnp.asarray(_ALONG, x.dtype)
        (chosen, costs), _ = jax.lax.scan(backed, (frame, start), shares)
        turned = jnp.matmul(axis_angle_to_matrix(chosen[:3]), rotation, precision=_HIGHEST)
        return turned, chosen.at[:3].set(0.0), (start[0], costs[0], start[1], costs[1])

    seen = (problem.pixels, problem.trust)
    return jax.lax.map(one, (jnp.asarray(pictures), *seen, rotation, frames))


_refined = jax.jit(_refined, static_argnames=("steps",))
