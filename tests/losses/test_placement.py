"""Terms of the loss that say where density belongs."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.losses.placement import guess_terms, surface_terms
from jaxhead.rendering.integrate import volume_weights
from jaxhead.rendering.rays import Samples

FROZEN = {"surface_box": jnp.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])}
WALL = 1e5


def samples(sigma, distance, *, skin=1.0, where=0.0, delta=0.01):
    """One ray with samples a centimetre apart."""
    sigma = jnp.asarray(sigma, jnp.float32)[None]
    count = sigma.shape[1]
    volume = jnp.stack(
        [jnp.asarray(distance, jnp.float32), jnp.full(count, skin), jnp.ones(count)], -1
    )
    t = jnp.arange(count)[None] * 0.01
    delta = jnp.full_like(t, delta)
    weights = volume_weights(sigma, delta)
    canonical = jnp.full((1, count, 3), where)
    return Samples(t, delta, sigma, weights, canonical, volume[None])


def test_density_at_the_skin_costs_nothing_and_off_it_its_distance():
    at = surface_terms(samples([0, WALL, 0], [0.02, 0.0, -0.02]), FROZEN)
    off = surface_terms(samples([WALL, 0, 0], [0.02, 0.0, -0.02]), FROZEN)
    hair = surface_terms(samples([WALL, 0, 0], [0.02, 0.0, -0.02], skin=0.0), FROZEN)
    np.testing.assert_allclose([at.surface, off.surface, hair.surface], [0, 2, 0], atol=1e-4)


def test_two_walls_are_more_spread_than_one():
    one = surface_terms(samples([0, 50, 0, 0], [0.0] * 4), FROZEN).spread
    two = surface_terms(samples([50, 0, 0, 50], [0.0] * 4), FROZEN).spread
    assert two > one > 0


def test_hidden_air_is_emptied_and_hidden_flesh_filled():
    distance = [0.0, 0.03, -0.03]

    def hidden(behind, **kwargs):
        return surface_terms(samples([WALL, *behind], distance, **kwargs), FROZEN).hidden

    assert hidden([0.0, WALL]) == 0
    assert hidden([100.0, WALL]) > 0.02 and hidden([0.0, 0.0]) > 0.1
    slopes = jax.grad(hidden)(jnp.array([100.0, 100.0]))
    assert slopes[0] > 0 > slopes[1]
    # What lies outside the table of distances is air, and padding without length is nothing.
    assert hidden([0.0, 100.0], where=3.0) > 0.02
    assert hidden([100.0, 0.0], delta=0.0) == 0


def test_what_light_reaches_is_left_to_the_colours():
    assert surface_terms(samples([10.0, 10.0, 10.0], [0.03, 0.0, -0.03]), FROZEN).hidden == 0
    slope = jax.grad(
        lambda first: surface_terms(
            samples(jnp.array([first, 100.0]), [0.0, 0.03]), FROZEN
        ).hidden
    )(1e3)
    assert slope == 0


def test_a_guess_is_wrong_above_solid_ground_and_right_below_it():
    height = jnp.array([-0.005, -0.005, 0.005, -0.001])
    colors = jnp.full((4, 3), 0.5)

    def terms(sigma, rgb=0.5, hidden=True):
        return guess_terms(jnp.full(4, sigma), jnp.full((4, 3), rgb), height, colors,
                           jnp.full(4, hidden))

    # A quarter of the places stands in the air, the others lack one half each.
    np.testing.assert_allclose(terms(0.0).unseen, 0.75 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(terms(1e6).unseen, 0.25, rtol=1e-6)
    np.testing.assert_allclose(terms(0.0, rgb=0.7).unseen_color, 0.75 * 0.2, rtol=1e-5)
    # What frames show is known to be solid some way below alone, and its colour is theirs.
    shown = terms(0.0, rgb=0.7, hidden=False)
    np.testing.assert_allclose(shown.unseen, 0.5 * 0.5, rtol=1e-6)
    assert shown.unseen_color == 0 and terms(1e6, hidden=False).unseen == 0


def test_a_guess_pulls_density_and_colour():
    height, hidden = jnp.array([-0.004, 0.004]), jnp.array([True, True])
    colors = jnp.full((2, 3), 0.2)

    def total(sigma, rgb):
        return sum(guess_terms(sigma, rgb, height, colors, hidden))

    slopes, tint = jax.jit(jax.grad(total, (0, 1)))(jnp.full(2, 100.0), jnp.full((2, 3), 0.6))
    assert slopes[0] < 0 < slopes[1]
    assert (tint[0] > 0).all() and (tint[1] == 0).all()
