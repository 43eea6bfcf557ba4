"""Errors of the colours along rays, in chunks whose gradient is found along with their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.encodings.frequency import frequency
from jaxhead.networks import nerf_mlp
from jaxhead.rendering.field_sum import Field, field_sum
from jaxhead.rendering.hierarchical import background_layers, fine_depths
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.systems.adnerf.nerf_model import (
    Rays,
    coarse_depths,
    conditioned_field,
    precision_of,
    ray_lengths,
    rays_together,
)


def squared_errors(
    fields: Mapping[str, Any], code: jax.Array, rays: Rays, behind: tuple[jax.Array, jax.Array],
    target: jax.Array, config: NerfConfig, *, key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Mean squared errors of the colours of the coarse and of the fine pass.

    The same as with `nerf_model.render_rays`, but in chunks of rays whose gradient (in `fields` and
    `code`) is found along with their values, see `field_sum`.

    Args:
        fields, code, rays, config, key: see `nerf_model.render_rays`.
        behind: two (R, 3): what stands behind the last sample in the coarse and the fine pass.
        target: (R, 3).

    Returns:
        () float32 each.
    """
    keys = (None, None) if key is None else jax.random.split(key)
    depths = coarse_depths(keys[0], rays, config)
    chunk = rays_together(config)
    wide = chunk * (1 + config.sampling.fine // config.sampling.coarse)
    coarse, weights = _errors(
        fields["coarse"], code, rays, depths, behind[0], target, wide, config
    )
    further = fine_depths(keys[1], depths, weights, config.sampling.fine)
    fine, _ = _errors(
        fields["fine"], code, rays, further, behind[1], target, chunk, config
    )
    return coarse, fine


def in_ray_chunks(
    render: Any, rays: dict[str, jax.Array], chunk: int, *, key: jax.Array | None
) -> Any:
    """`render` of chunks of rays [R, ...], each with a key of its own in "key" (None for None)."""
    count = jax.tree.leaves(rays)[0].shape[0]
    chunk = min(chunk, count)
    calls = -(-count // chunk)
    numbers = jnp.minimum(jnp.arange(calls * chunk), count - 1)
    parts = jax.tree.map(lambda x: x[numbers].reshape(calls, chunk, *x.shape[1:]), rays)
    if key is None:
        found = jax.lax.map(lambda part: render({**part, "key": None}), parts)
    else:
        parts["key"] = jax.random.key_data(jax.random.split(key, calls))
        found = jax.lax.map(
            lambda part: render({**part, "key": jax.random.wrap_key_data(part["key"])}), parts
        )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)


def _errors(params, code, rays: Rays, depths, behind, target, chunk: int, config: NerfConfig):
    """The mean squared error of a pass, and its weights [R, samples]."""
    field, views = conditioned_field(params, code, rays, config)
    points = rays.origins[:, None] + depths[..., None] * rays.directions[:, None]
    constants = {
        "depths": depths, "length": ray_lengths(rays.directions), "behind": behind, "target": target
    }

    def field_of(columns: bool, dense: Field | None = None) -> Field:
        given = {"columns": columns, "precision": precision_of(config.field)}

        def values(field, views, points):
            encoded = frequency(points, bands=config.field.point_bands)
            return nerf_mlp.kept_values(field, encoded, views, **given)

        def slopes(field, kept, gradient):
            return nerf_mlp.value_slopes(field, kept, gradient, **given)

        return Field(values, slopes, dense)

    def integrate(raw, given):
        layers = background_layers(
            jax.nn.sigmoid(raw[..., :3]), jax.nn.relu(raw[..., 3]), given["depths"],
            given["length"],
        )
        error = (layers.over(given["behind"]) - given["target"]) ** 2
        return jnp.sum(given["counts"][:, None] * error), layers.weights

    total, weights = field_sum(  # pyright: ignore[reportGeneralTypeIssues]
        field_of(False, field_of(True)), integrate, nerf_mlp.oriented(field), views,
        *jax.lax.stop_gradient((points, constants)), chunk, config.sampling.skip,
    )
    return total / target.size, weights
