"""A fit refined on the pixels: albedo, light, what frames share and each frame's numbers in turn.

Points that stay on the skin (by triangle and barycentric weights) carry an albedo; what a frame
shows at their projections shall be albedo times shade. Their place and their normal depend on the
frame's numbers through the barycentric interpolation; which of them are seen is decided by the
rasteriser once per round. Landmarks and priors stay in the cost. First some training frames tell
identity and focal length (`shaping`); then every frame of the clip moves alone, and one whose
landmarks would fit worse than `allowance` permits goes less far or stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.agreement import Sight, Weighing, costs, errors, masses
from jaxhead.captures.fitting.appearance import Appearance, fit_appearance
from jaxhead.captures.fitting.fit import spread
from jaxhead.captures.fitting.pictures import BATCH, blurred
from jaxhead.captures.fitting.problem import Problem, State
from jaxhead.captures.fitting.shaping import refine_shared
from jaxhead.captures.fitting.skin import Skin, Window, in_picture, look_up, placed, visible
from jaxhead.geometry.transforms import axis_angle_to_matrix
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
_ALONG = (0.25, 0.5, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotometricConfig:
    """Settings of `refine_frames`.

    Attributes:
      size: side in pixels of the pictures.
      blurs: deviation of the blur in pixels, one round per entry.
      steps: Levenberg-Marquardt steps of a frame per round.
      local: metres on the skin, deviation of the surroundings whose mean error does not count, so
        that detail decides and not shading, which nine harmonics do not explain well enough: with
        all of it yaw came out a quarter too large. 0 takes nothing away.
      turns: how often per round identity and focal length are refined, each time under a new
        albedo; 0 leaves them alone.
      shared_steps: steps of it each time.
      independent_frames: what frames share is told by at most so many independent ones. More than
        landmarks count for: skin slips where the shape is wrong, by whatever network it was found.
      correlated: so many points count as one, since neighbours err alike.
      marks: so many independent landmarks count all of them together.
      robust: deviations at which a point counts half (Cauchy's loss).
      allowance: share by which a frame's landmark cost may rise.
      appearance_frames: most training frames that albedo, light and shape are fitted on.
    """

    size: int = 256
    blurs: tuple[float, ...] = (2.0, 1.0)
    local: float = 0.008
    steps: int = 5
    turns: int = 3
    shared_steps: int = 3
    independent_frames: float = 20.0
    correlated: float = 5.0
    marks: float = 10.0
    robust: float = 2.0
    allowance: float = 0.1
    appearance_frames: int = 96


@dataclasses.dataclass(frozen=True, eq=False)
class Refinement:
    """Refined frames.

    Attributes:
      shared: (1 + I,) log focal length, identity.
      rotation: (N, 3, 3); frames: (N, D).
      appearance: of the points in the pictures as they are, the last blur's.
      before, after: (N,) robust colour error; landmarks_before, landmarks_after: (N,) cost.
    """

    shared: np.ndarray
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
      skin: points, on a body with its identity components.
      window: of the pictures.
      problem: the landmarks and priors of all N frames; its body and marks are the skin's body's.
      shared: (1 + I,) log of the focal length in pixels of the full frame, and identity.
      rotation, frames: where to start; training: (N,) bool.
      config: settings.
      progress: called with (pictures done, pictures in all).
    """
    rotation, frames = np.array(rotation, np.float32), np.array(frames, np.float32)
    count, shared = len(frames), np.array(shared, np.float32)
    usual = spread(np.flatnonzero(training), config.appearance_frames)
    total = (len(usual) + count) * len(config.blurs)
    weighing = Weighing(
        *map(jnp.float32, (config.correlated, config.robust,
                           min(1.0, config.marks / problem.pixels.shape[1])))
    )  # fmt: skip

    def tell(done: int) -> None:
        if progress is not None:
            progress(min(done, total), total)

    first: dict[str, np.ndarray] = {}
    shown, state, found, done = np.zeros(0), None, {}, 0
    for blur in config.blurs:
        chosen = np.isin(np.arange(count), usual)
        shown = np.concatenate([batch for _, batch in blurred(pictures, chosen, blur)])
        shown = shown[: len(usual)]
        state = State(*map(jnp.asarray, (shared, rotation[usual], frames[usual])))
        state, appearance = _shared(
            _rows(problem, usual), skin, window, shown, state, weighing, config,
        )  # fmt: skip
        # A longer focal length sees the same from farther away.
        frames[:, 5] += float(state.shared[0]) - shared[0]
        shared = np.array(state.shared)
        rotation[usual], frames[usual] = np.asarray(state.rotation), np.asarray(state.frames)
        done += len(usual)
        tell(done)
        found = {name: np.zeros(count) for name in ("before", "after", "old", "new")}
        for ids, batch in blurred(pictures, np.ones(count, bool), blur):
            own = _rows(problem, ids)
            turned, numbers, off = _refined(
                own, skin, window, shared, appearance, batch, rotation[ids], frames[ids],
                weighing, jnp.float32(config.allowance), steps=config.steps,
            )  # fmt: skip
            rotation[ids], frames[ids] = np.asarray(turned), np.asarray(numbers)
            for name, cost in zip(found, off):
                found[name][ids] = np.asarray(cost)
            done += len(ids)
            tell(done)
        first = first or {"before": found["before"], "old": found["old"]}
    return Refinement(
        shared, rotation, frames, appearance, found["before"], found["after"], first["old"],
        found["new"],
    )  # fmt: skip


def _shared(problem, skin, window, pictures, state, weighing, config):
    """The state of the frames looked at, and the appearance, each improved with the other held."""
    appearance, seen = _looks(skin, window, pictures, state)
    for _ in range(config.turns):
        state, *_ = refine_shared(
            problem, skin, window, appearance, pictures, seen, state, weighing,
            steps=config.shared_steps,
        )  # fmt: skip
        appearance, seen = _looks(skin, window, pictures, state)
    return state, appearance


def _looks(skin, window, pictures, state):
    """The appearance that the pictures (T, S, S, 3) of a state show, and what each shows (T, P)."""
    parts = [
        _sampled(skin, window, state.shared, pictures[k : k + BATCH],
                 state.rotation[k : k + BATCH], state.frames[k : k + BATCH])
        for k in range(0, len(pictures), BATCH)
    ]  # fmt: skip
    colours, normals, seen = (jnp.concatenate([part[k] for part in parts]) for k in range(3))
    return _appearance(colours, normals, seen, skin.near), seen


def _rows(problem: Problem, ids: np.ndarray) -> Problem:
    """The problem of frames `ids`; what frames share is held as firmly per frame."""
    return problem.replace(  # pyright: ignore[reportAttributeAccessIssue]
        pixels=problem.pixels[ids], trust=problem.trust[ids], gap=problem.gap[ids],
        shared_precision=problem.shared_precision * (len(ids) / len(problem.gap)),
    )


@jax.jit
def _sampled(skin, window, shared, pictures, rotation, frames):
    """Colours (B, P, 3), normals (B, P, 3) and weights (B, P) that frames show."""

    def one(inputs):
        picture, rotation, frame = inputs
        points, normals = placed(skin, shared, rotation, frame)
        weights = visible(skin, window, shared, picture.shape[0], rotation, frame)
        return look_up(picture, in_picture(window, shared, points)), normals, weights

    return jax.lax.map(one, (jnp.asarray(pictures), rotation, frames))


_appearance = jax.jit(fit_appearance)


def _refined(problem, skin, window, shared, appearance, pictures, rotation, frames, weighing,
             allowance, *, steps):  # fmt: skip
    """Rotations, numbers and (colour cost before, after, landmark cost before, after)."""

    def one(inputs):
        picture, pixels, trust, rotation, frame = inputs
        seen = visible(skin, window, shared, picture.shape[0], rotation, frame)
        sight = Sight(picture, pixels, trust, rotation, seen)

        def twice(x):
            off = errors(problem, skin, window, appearance, sight, shared, x)
            return off, off

        def losses(x):
            off, _ = twice(x)
            # Every frame moves alone: what its neighbours say is that it was about here.
            held = (2 * problem.walk * (x - frame) ** 2).sum()
            prior = (problem.precision * (x - problem.mean) ** 2).sum()
            fit = costs(problem, appearance, sight, weighing, *off)
            return jnp.concatenate([fit, jnp.stack([held + prior])])

        def step(carry, _):
            x, cost, damping = carry
            slopes, off = jax.jacfwd(twice, has_aux=True)(x)
            weights = masses(problem, appearance, sight, weighing, *off)
            normal = jnp.diag(problem.precision + 2 * problem.walk)
            right = problem.precision * (problem.mean - x) + 2 * problem.walk * (frame - x)
            for jacobian, error, mass in zip(slopes, off, weights):
                scaled = jacobian * mass[:, None, None]
                normal += jnp.einsum("pki,pkj->ij", scaled, jacobian, precision=_HIGHEST)
                right -= jnp.einsum("pki,pk->i", scaled, error, precision=_HIGHEST)
            scale = jax.lax.rsqrt(jnp.maximum(jnp.diagonal(normal), 1e-12))
            system = normal * scale[:, None] * scale + damping * jnp.eye(len(x), dtype=x.dtype)
            new = x + scale * jnp.linalg.solve(system, right * scale)
            new = jnp.clip(new, problem.low, problem.high)
            found = losses(new)
            better = found.sum() < cost.sum()
            x, cost = jnp.where(better, new, x), jnp.where(better, found, cost)
            return (x, cost, jnp.where(better, damping / 5, damping * 10)), None

        def backed(carry, share):
            chosen, cost = carry
            candidate = frame + share * (x - frame)
            found = losses(candidate)
            fine = (found[0] <= cost[0]) & (found[1] <= (1 + allowance) * start[1])
            return (jnp.where(fine, candidate, chosen), jnp.where(fine, found, cost)), None

        start = losses(frame)
        (x, _, _), _ = jax.lax.scan(step, (frame, start, jnp.float32(1e-2)), None, length=steps)
        shares = jnp.asarray(_ALONG, x.dtype)
        (chosen, cost), _ = jax.lax.scan(backed, (frame, start), shares)
        turned = jnp.matmul(axis_angle_to_matrix(chosen[:3]), rotation, precision=_HIGHEST)
        return turned, chosen.at[:3].set(0.0), (start[0], cost[0], start[1], cost[1])

    seen = (problem.pixels, problem.trust)
    return jax.lax.map(one, (jnp.asarray(pictures), *seen, rotation, frames))


_refined = jax.jit(_refined, static_argnames=("steps",))
