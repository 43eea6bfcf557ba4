"""The field against the published one, and its two ways of being computed against each other."""

import jax
import jax.numpy as jnp
import numpy as np
from goldens_reader import compare, known_goldens

from jaxhead.encodings.frequency import frequency
from jaxhead.networks.nerf_mlp import FaceNeRF, conditioned, raw_values
from jaxhead.networks.torch_layers import from_published


def loaded(golden, prefix=""):
    config = golden.config
    net = FaceNeRF(config["D"], config["W"], tuple(config["skips"]), precision="highest")
    given = (jnp.zeros(config[k]) for k in ("input_ch", "dim_aud", "input_ch_views"))
    shapes = jax.eval_shape(lambda *x: net.init(jax.random.key(0), *x), *given)["params"]
    return net, from_published(golden.weights, shapes, prefix=prefix)


def test_the_head_field_is_the_published_one(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="FaceNeRF (head)"):
        net, params = loaded(golden)
        config, given = golden.config, golden.inputs
        points = frequency(jnp.asarray(given["points"]), bands=config["multires"])
        views = frequency(jnp.asarray(given["viewdirs"]), bands=config["multires_views"])
        rays, samples = points.shape[:2]
        wide = jnp.broadcast_to(given["aud"], (rays, samples, len(given["aud"])))
        seen = jnp.broadcast_to(views[:, None], (rays, samples, views.shape[-1]))
        golden.compare("embedded", jnp.concatenate([points, wide, seen], -1).reshape(
            rays * samples, -1))  # fmt: skip
        plain = jax.jit(net.apply)({"params": params}, points, given["aud"], views[:, None])
        golden.compare("raw", plain)
        golden.compare("raw", fast(params, points, given["aud"], views))


@jax.jit
def fast(params, points, code, views):
    field, along = conditioned(
        params, code, views, points=points.shape[-1], precision="highest"
    )
    logits, sigma = raw_values(field, points, along, precision="highest")
    return jnp.concatenate([logits, sigma[..., None]], -1)


def test_any_depth_and_skip_and_its_gradient():
    net = FaceNeRF(5, 12, (1,))
    keys = iter(jax.random.split(jax.random.key(1), 5))
    points, code = jax.random.normal(next(keys), (3, 4, 9)), jax.random.normal(next(keys), (5,))
    views = jax.random.normal(next(keys), (3, 6))
    shapes = jax.eval_shape(net.init, jax.random.key(0), points, code, views[:, None])
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.float32(0.3 * random.normal(size=x.shape)), shapes)

    def plain(params, code):
        return net.apply(params, points, code, views[:, None])

    def split(params, code):
        field, along = conditioned(params["params"], code, views, points=9)
        logits, sigma = raw_values(field, points, along)
        return jnp.concatenate([logits, sigma[..., None]], -1)

    found, expected = (
        jax.jit(jax.value_and_grad(lambda p, c, f=f: jnp.sum(f(p, c) ** 2), argnums=(0, 1)))(
            params, code
        )
        for f in (split, plain)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        compare("gradient", a, b, tolerance=1e-5)
    assert not np.any(found[1][0]["params"]["feature_linear"]["kernel"])
