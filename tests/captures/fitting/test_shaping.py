"""Steps of what frames share: the cost never rises, and the truth stays where it is."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.clips import problem_of
from captures.fitting.test_photometric import WINDOW, beside, clip, skin_and_marks

from jaxhead.captures.fitting import photometric
from jaxhead.captures.fitting.agreement import Sight, Weighing, costs, masses
from jaxhead.captures.fitting.appearance import Appearance
from jaxhead.captures.fitting.problem import State
from jaxhead.captures.fitting.shaping import refine_shared

WEIGHING = Weighing(*map(jnp.float32, (5.0, 2.0, 0.1)))
FRAMES = 4


@pytest.fixture(scope="module")
def given():
    state, pictures, _ = clip()
    skin, marks = skin_and_marks(0.02)
    state = State(state.shared, state.rotation[:FRAMES], state.frames[:FRAMES])
    problem = problem_of(state, scale=4.0).replace(body=skin.body, marks=marks)
    pictures = np.stack(pictures[:FRAMES])
    state = jax.tree.map(jnp.asarray, state)
    looks, seen = photometric._looks(skin, WINDOW, pictures, state)
    return problem, skin, WINDOW, looks, jnp.asarray(pictures), seen, state


@pytest.mark.long
def test_the_cost_falls_and_identity_comes_back(given):
    *fixed, state = given
    start = state.replace(shared=jnp.asarray(beside(state, 0.5)))
    found, before, after = refine_shared(*fixed, start, WEIGHING, steps=5)
    assert after < 0.8 * before
    off = [np.abs(np.asarray(s.shared - state.shared))[1:].mean() for s in (start, found)]
    assert off[1] < 0.7 * off[0]
    eye = np.einsum("nij,nkj->nik", found.rotation, found.rotation)
    np.testing.assert_allclose(eye, np.broadcast_to(np.eye(3), eye.shape), atol=1e-5)


@pytest.mark.long
def test_no_step_is_taken_where_none_helps(given):
    *fixed, state = given
    _, before, after = refine_shared(*fixed, state, WEIGHING, steps=0)
    assert before == after
    _, before, after = refine_shared(*fixed, state, WEIGHING, steps=2)
    assert after <= before


def test_masses_are_the_slope_of_the_costs():
    rng = np.random.default_rng(0)
    colour, marks = (jnp.float32(rng.normal(size=(7, k))) for k in (3, 2))
    seen, known, trust = (jnp.float32(rng.uniform(size=7)) for _ in range(3))
    nothing = jnp.zeros(0)
    sight = Sight(nothing, nothing, trust, nothing, seen)
    looks = Appearance(albedo=nothing, light=nothing, known=known, spread=nothing)
    problem = SimpleNamespace(robust=jnp.float32(1.5))

    def along(scale):
        return costs(problem, looks, sight, WEIGHING, colour * scale, marks * scale).sum()

    weight, trusted = masses(problem, looks, sight, WEIGHING, colour, marks)
    expected = 2 * ((weight[:, None] * colour**2).sum() + (trusted[:, None] * marks**2).sum())
    np.testing.assert_allclose(jax.grad(along)(1.0), expected, rtol=1e-4)
