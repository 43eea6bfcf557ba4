"""How far the per-frame surface is from the exact nearest triangle and the exact mapping."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.paths import Samples
from experiments.benchmarks.subject import Subject
from jaxhead.geometry import frenet
from jaxhead.geometry.bvh import build_bvh, nearest_triangle, point_mesh_distance
from jaxhead.geometry.volume import nearest_volume, voxel_centres
from jaxhead.systems.avatar.surface import frame_geometry, to_canonical

SAME = 1e-5
"""Metres: another triangle that is farther by less than this is as near."""


def volume_error(subject: Subject, samples: Samples, *, frames: int = 4) -> dict[str, Any]:
    """Errors over the frames whose expressions are strongest.

    Returns:
      "frames"; of the volume's voxels: "other" share with another triangle than the tree finds,
      "wrong" share with one that is farther by more than 0.01 mm, "excess_mm" the worst of that;
      of the step's samples mapped to canonical space against the exact mapping: "mean_mm",
      "p95_mm", "max_mm", and "moved_mm", by how much the exact mapping moves them on average.
      Figures that the configuration has no meaning for are None.
    """
    config, frozen = subject.config, jax.tree.map(jnp.asarray, subject.frozen)
    if config.field.mapping == "none":
        return {"frames": 0}
    strength = subject.inputs["expression"][subject.inputs["train"]].sum(-1)
    ids = subject.inputs["train"][np.argsort(-strength)[:frames]]
    indices, points = [], []
    compare_index, compare_points = jax.jit(_index_error), jax.jit(
        lambda *a: _mapping_error(*a, config=config)
    )
    for frame in ids:
        vertices = jnp.asarray(subject.inputs["vertices"][frame])
        if config.surface.nearest == "volume":
            indices.append(jax.device_get(compare_index(vertices, frozen)))
        points.append(
            jax.device_get(compare_points(vertices, samples.points, samples.directions, frozen))
        )
    off, moved = (1e3 * np.concatenate(part) for part in zip(*points))
    result: dict[str, Any] = {
        "frames": len(ids),
        "mean_mm": float(off.mean()),
        "p95_mm": float(np.percentile(off, 95)),
        "max_mm": float(off.max()),
        "moved_mm": float(moved.mean()),
    }
    if indices:
        other, excess = (np.concatenate([x.reshape(-1) for x in part]) for part in zip(*indices))
        result |= {
            "voxels": list(frozen["template_index"].shape),
            "other": float(other.mean()),
            "wrong": float((excess > SAME).mean()),
            "excess_mm": float(1e3 * excess.max()),
        }
    return result


def _index_error(vertices, frozen):
    """(bool, metres) per voxel: another triangle than the tree's, and how much farther it is."""
    faces, start = frozen["faces"], frozen["template_index"]
    box = frozen.get("surface_box", frozen["box"])
    points = voxel_centres(box, start.shape)
    exact = nearest_triangle(build_bvh(vertices, faces), points)
    index = nearest_volume(vertices, faces, frozen["neighbours"], box, start)
    near = point_mesh_distance(vertices, faces, exact, points)[0]
    found = point_mesh_distance(vertices, faces, index, points)[0]
    return index != exact, found - near


def _mapping_error(vertices, points, directions, frozen, *, config):
    """(n,) metres between mapped and exactly mapped points, and by how much the exact ones move."""
    faces = frozen["faces"]
    nobody = jnp.zeros((len(points),), jnp.int32)
    geometry = frame_geometry(vertices, frozen, config=config)[None]
    mapped, _ = to_canonical(points, directions, nobody, geometry, frozen, config=config)
    index = nearest_triangle(build_bvh(vertices, faces), points)
    # The points of a ray stand together.
    directions = jnp.repeat(directions, len(points) // len(directions), axis=0)
    exact, _ = frenet.map_points(
        points, directions, index, frenet.surface(vertices, faces),
        frenet.surface(frozen["template"], faces), frozen["neighbours"],
        variant=config.field.mapping, beta=config.field.beta,
    )  # fmt: skip
    length = lambda x: jnp.sqrt(jnp.sum(x * x, -1))  # noqa: E731
    return length(mapped - exact), length(exact - points)


def volume_table(error: dict[str, Any]) -> str:
    """The result of `volume_error` in a sentence or two."""
    if not error["frames"]:
        return "The mapping is off: nothing to compare with the exact one."
    text = (
        f"Canonical points against the exact mapping, {error['frames']} frames with the strongest "
        f"expressions: mean {error['mean_mm']:.3f} mm, 95 % below {error['p95_mm']:.3f} mm, worst "
        f"{error['max_mm']:.2f} mm; the mapping itself moves points by {error['moved_mm']:.2f} mm."
    )
    if "voxels" in error:
        shape = " × ".join(str(n) for n in error["voxels"])
        text += (
            f" Of {shape} voxels {error['other']:.2%} name another triangle than the tree, "
            f"{error['wrong']:.2%} one that is farther (the worst by {error['excess_mm']:.2f} mm)."
        )
    return text
