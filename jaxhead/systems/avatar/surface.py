"""From head space to canonical space: a voxel volume per frame, or the exact tree.

Volumes are built in the background, bounded in number, and cached in the run with their digest.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.hull import MOVED, skin_volume
from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.errors import InputError
from jaxhead.geometry import frenet, meshes
from jaxhead.geometry.bvh import build_bvh, nearest_triangle
from jaxhead.geometry.volume import (
    displacement_volume,
    lookup,
    nearest_volume,
    template_volume,
    voxel_centres,
)
from jaxhead.heads.model import HeadModel
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec

Frozen = Mapping[str, Any]
_ARRAYS = ("template", "faces", "neighbours", "template_index", "surface_box", "rules")


def surface_arrays(
    spec: AvatarSpec, head: HeadModel, *, config: AvatarConfig
) -> dict[str, np.ndarray]:
    """What every frame's volume starts from: arrays of the run's inputs.

    Args:
      spec: the run's.
      head: the run's; its template is the canonical mesh.
      config: the run's.

    Returns:
      {"neighbours" (F, 3) int32, "template_index" (nz, ny, nx) int32, the template's nearest
      triangle, "skin" (nz, ny, nx, 3) of `hull.skin_volume`, "rules" (F,) int32, how INSTA maps
      what is nearest to a triangle, see `mapping_rules`}.
    """
    box = jnp.asarray(spec.surface_box, jnp.float32)
    template, faces = np.asarray(head.template), np.asarray(head.faces)
    index = template_volume(template, faces, box, shape=spec.shape)
    centres = np.asarray(voxel_centres(box, spec.shape))
    regions = np.asarray(head.regions)
    region = config.field.expression_region
    moved = MOVED.get(region, MOVED["face"])
    skin = skin_volume(centres, template, faces, regions, head.region_names, moved)
    if region == "lips":  # INSTA's rule knows no border to fade over
        ids = [head.region_names.index(name) for name in moved if name in head.region_names]
        skin[..., 2] = np.any(np.isin(regions[faces], ids), -1)[np.asarray(index)]
    return {
        "neighbours": np.asarray(meshes.edge_neighbours(faces), np.int32),
        "template_index": np.asarray(index, np.int32),
        "skin": skin,
        "rules": mapping_rules(faces, regions, head.region_names),
    }


def mapping_rules(faces: np.ndarray, regions: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(F,) int32 labels of `frenet.RULES`, as INSTA has them: averaged frames at the face, a scaled
    frame around the eyes, the nearest triangle's frame elsewhere, lips and ears included.

    A triangle belongs to a region when any of its corners does; lips and ears win over the face,
    the face over the eyes' region (INSTA's order of masks).

    Args:
      faces: (F, 3); regions: (V,) indices into `names`.
    """
    rules = np.full(len(faces), frenet.RULES["nearest"], np.int32)
    for region, rule in (("eyes", "scaled"), ("face", "program"), ("lips", "nearest"),
                         ("ears", "nearest")):  # fmt: skip
        if region in names:
            belongs = (regions[faces] == names.index(region)).any(-1)
            rules[belongs] = frenet.RULES[rule]
    return rules


def frame_geometry(vertices: jax.Array, frozen: Frozen, *, config: AvatarConfig) -> jax.Array:
    """What maps samples of one posed mesh to canonical space.

    Args:
      vertices: (V, 3) metres, head space.
      frozen: "template", "faces", "neighbours", "template_index", "surface_box", "rules".
      config: the run's.

    Returns:
      The displacement volume (nz, ny, nx, 3) float16 metres (0.01 mm at 2 cm) where
      `surface.nearest` is "volume"; the vertices themselves for "bvh".
    """
    if config.surface.nearest == "bvh":
        return vertices
    if config.field.mapping == "none":
        return jnp.zeros((*frozen["template_index"].shape, 3), jnp.float16)
    box, faces, neighbours = frozen["surface_box"], frozen["faces"], frozen["neighbours"]
    index = nearest_volume(vertices, faces, neighbours, box, frozen["template_index"])
    volume = displacement_volume(
        vertices, frozen["template"], faces, neighbours, index, box,
        variant=config.field.mapping, beta=config.field.beta, rules=frozen["rules"],
    )
    return volume.astype(jnp.float16)


def to_canonical(
    points: jax.Array, directions: jax.Array, frame: jax.Array, geometry: jax.Array,
    frozen: Frozen, *, config: AvatarConfig,
) -> tuple[jax.Array, jax.Array]:
    """Points and directions of head space in canonical space.

    A volume moves points only: the few degrees by which expressions turn the skin change the
    harmonics of a direction too little to be worth nine more look-ups.

    Args:
      points: (n, 3); for "bvh" the n / b points of each frame stand together.
      directions: (n / r, 3), each of r points that stand together; for "bvh" (n, 3) come back.
      frame: (n,) int32 in [0, b).
      geometry: (b, ...) of `frame_geometry`.
      frozen: see `frame_geometry`.
      config: the run's.
    """
    if config.field.mapping == "none":
        return points, directions
    if config.surface.nearest == "volume":
        return points + lookup(geometry, points, frozen["surface_box"], frame), directions
    directions = jnp.repeat(directions, len(points) // len(directions), axis=0)
    faces = frozen["faces"]
    canonical = frenet.surface(frozen["template"], faces)

    def one(part):
        vertices, points, directions = part
        index = nearest_triangle(build_bvh(vertices, faces), points)
        return frenet.map_points(
            points, directions, index, frenet.surface(vertices, faces), canonical,
            frozen["neighbours"], variant=config.field.mapping, beta=config.field.beta,
            rules=frozen["rules"],
        )

    split = (len(geometry), -1, 3)
    mapped = jax.lax.map(one, (geometry, points.reshape(split), directions.reshape(split)))
    return mapped[0].reshape(-1, 3), mapped[1].reshape(-1, 3)


class GeometryCache:
    """`frame_geometry` by frame id; a thread builds it in a given order, `get` waits for its frame.

    As many frames are kept as the pool holds; a larger capture builds them anew when its pool
    rotates. What is kept goes to a file, so that a run that is resumed need not wait.
    """

    def __init__(
        self,
        vertices: np.ndarray,
        order: np.ndarray,
        frozen: Frozen,
        *,
        config: AvatarConfig,
        file: pathlib.Path | None = None,
        digest: str = "",
    ):
        """Starts to build.

        Args:
          vertices: (N, V, 3) of all frames; order: ids in the order in which they are wanted.
          frozen: see `frame_geometry`; config: the run's.
          file: where to keep what was built, None for nowhere.
          digest: of what it was built from; a file with another one is built anew.
        """
        self._vertices, self._order = vertices, [int(i) for i in order[: config.surface.pool]]
        self._frozen = {name: jnp.asarray(frozen[name]) for name in _ARRAYS}
        self._build = jax.jit(lambda v, f: frame_geometry(v, f, config=config))
        self._file, self._digest = file, digest
        self._ready = _read_cache(file, digest)
        self._arrived = threading.Condition()
        self._error: BaseException | None = None
        self._stop = False
        shape = jax.eval_shape(self._build, jnp.asarray(vertices[0]), self._frozen)
        self.shape, self.dtype = shape.shape, shape.dtype
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def get(self, frame: int) -> np.ndarray:
        """The geometry of a frame."""
        with self._arrived:
            while frame in self._order and frame not in self._ready and self._error is None:
                if self._stop:
                    break
                self._arrived.wait()
            if self._error is not None:
                raise self._error
            if frame in self._ready:
                return self._ready[frame]
        return self._make(frame)

    def close(self) -> None:
        """Stops building and waits for the thread; whoever waits for a frame builds it."""
        with self._arrived:
            self._stop = True
            self._arrived.notify_all()
        self._thread.join()

    def _make(self, frame: int) -> np.ndarray:
        return np.asarray(self._build(jnp.asarray(self._vertices[frame]), self._frozen))

    def _work(self) -> None:
        try:
            missing = [frame for frame in self._order if frame not in self._ready]
            for frame in missing:
                if self._stop:
                    return
                made = self._make(frame)
                with self._arrived:
                    self._ready[frame] = made
                    self._arrived.notify_all()
            if missing and self._file is not None and jax.process_index() == 0:
                kept = np.array(self._order, np.int32)
                write_npz(
                    self._file,
                    {"digest": np.array(self._digest), "frames": kept,
                     "geometry": np.stack([self._ready[frame] for frame in self._order])},
                    compress=False,
                )
        except BaseException as error:  # handed to the thread that waits
            with self._arrived:
                self._error = error
                self._arrived.notify_all()


def _read_cache(file: pathlib.Path | None, digest: str) -> dict[int, np.ndarray]:
    """What a file holds, or nothing where it is absent, damaged or made from something else."""
    if file is None or not file.is_file():
        return {}
    try:
        arrays = read_npz(file)
        if str(arrays["digest"]) != digest:
            return {}
        return dict(zip(arrays["frames"].tolist(), arrays["geometry"], strict=True))
    except (InputError, KeyError, ValueError):
        return {}


def geometry_digest(capture_digest: str, config: AvatarConfig, spec: AvatarSpec) -> str:
    """Names the geometry of a capture's frames: what it was made from and how."""
    how = [config.surface.nearest, config.field.mapping, config.field.beta]
    made_of = [capture_digest, *how, spec.surface_box, spec.shape]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
