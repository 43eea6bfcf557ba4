"""How far one frame agrees with the colours of the skin and with its landmarks.

Letters: P points, M marks, D numbers of a frame, S shared numbers, as in `problem` and `skin`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxhead.captures.fitting.appearance import Appearance, detail, shade
from jaxhead.captures.fitting.problem import Problem
from jaxhead.captures.fitting.residuals import projected
from jaxhead.captures.fitting.skin import Skin, Window, in_picture, look_up, placed
from jaxhead.heads.model import Array


class Sight(NamedTuple):
    """What one frame shows: picture (S, S, 3), pixels (M, 2) and trust (M,) of its landmarks,
    rotation (3, 3) of its head, and seen (P,), how well each point of the skin is visible."""

    picture: Array
    pixels: Array
    trust: Array
    rotation: Array
    seen: Array


class Weighing(NamedTuple):
    """What counts how much: so many points as one, deviations at which a point counts half, and
    the share of a landmark's weight that is left beside the pixels."""

    correlated: Array
    robust: Array
    few: Array


def errors(
    problem: Problem, skin: Skin, window: Window, appearance: Appearance, sight: Sight,
    shared: Array, frame: Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Returns colours' detail (P, 3) and marks (M, 2) off, in deviations. Differentiable."""
    points, normals = placed(skin, shared, sight.rotation, frame)
    colour = look_up(sight.picture, in_picture(window, shared, points))
    colour = colour - appearance.albedo * shade(appearance.light, normals)
    colour = detail(colour, skin.near, sight.seen * appearance.known)
    marks = projected(problem.body, problem.marks, shared, sight.rotation, frame) - sight.pixels
    return colour / appearance.spread, marks / problem.scale


def costs(
    problem: Problem, appearance: Appearance, sight: Sight, weighing: Weighing,
    colour: Array, marks: Array,
) -> jax.Array:  # fmt: skip
    """Returns (2,) Cauchy's loss of colours and of landmarks off, twice the negative logarithm."""
    limit = weighing.robust**2
    weight = sight.seen * appearance.known
    photo = (weight * limit * jnp.log1p((colour**2).sum(-1) / limit)).sum() / weighing.correlated
    square = (marks**2).sum(-1) / problem.robust**2
    marked = weighing.few * (sight.trust * problem.robust**2 * jnp.log1p(square)).sum()
    return jnp.stack([photo, marked])


def masses(
    problem: Problem, appearance: Appearance, sight: Sight, weighing: Weighing,
    colour: Array, marks: Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Returns the weights (P,) and (M,) of squared errors that stand for `costs` here."""
    far = 1 + jnp.sum(colour**2, -1) / weighing.robust**2
    weight = jnp.divide(sight.seen * appearance.known, far * weighing.correlated)
    trusted = weighing.few * sight.trust
    return weight, jnp.divide(trusted, 1 + jnp.sum(marks**2, -1) / problem.robust**2)
