"""Surface volumes of a capture's frames: built in the background, cached with their digest."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.geometry import meshes
from jaxhead.geometry.volume import displacement_volume, nearest_volume, template_volume
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec


def surface_arrays(
    spec: AvatarSpec, template: np.ndarray, faces: np.ndarray
) -> dict[str, np.ndarray]:
    """What every frame's volume starts from: arrays of the run's inputs.

    Args:
      spec: the run's.
      template: (V, 3) metres; faces: (F, 3) int32.

    Returns:
      {"neighbours" (F, 3) int32, "template_index" (nz, ny, nx) int32, the nearest triangle of the
      template}.
    """
    box = jnp.asarray(spec.box, jnp.float32)
    index = template_volume(template, faces, box, shape=spec.shape)
    return {
        "neighbours": np.asarray(meshes.edge_neighbours(faces), np.int32),
        "template_index": np.asarray(index, np.int32),
    }


def frame_volume(
    vertices: jax.Array, frozen: dict[str, jax.Array], *, config: AvatarConfig
) -> jax.Array:
    """(nz, ny, nx, 3) displacement in metres from head space to canonical space for a posed mesh.

    Args:
      vertices: (V, 3) metres, head space.
      frozen: "template", "faces", "neighbours", "template_index", "box".
      config: the run's; its field's mapping is not "none".
    """
    box, faces = frozen["box"], frozen["faces"]
    index = nearest_volume(vertices, faces, frozen["neighbours"], box, frozen["template_index"])
    return displacement_volume(
        vertices,
        frozen["template"],
        faces,
        frozen["neighbours"],
        index,
        box,
        variant=config.field.mapping,
        beta=config.field.beta,
    )


class VolumeCache:
    """Volumes by frame id; a thread builds them in a given order, `get` waits for its frame.

    Volumes are float16 metres (0.1 mm at 10 cm) and are kept in memory for as many frames as the
    pool may ask for again; a larger capture builds them anew when its pool rotates.
    """

    def __init__(
        self,
        vertices: np.ndarray,
        order: np.ndarray,
        frozen: dict[str, Any],
        *,
        config: AvatarConfig,
    ):
        self.shape = (*frozen["template_index"].shape, 3)
        self._vertices, self._order = vertices, order
        self._frozen = {name: jnp.asarray(frozen[name]) for name in
                        ("template", "faces", "neighbours", "template_index", "box")}
        self._build = jax.jit(
            lambda v, f: frame_volume(v, f, config=config).astype(jnp.float16)
        )
        self._flat = config.field.mapping == "none"
        self._limit = config.surface.pool
        self._ready: dict[int, np.ndarray] = {}
        self._arrived = threading.Condition()
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _make(self, frame: int) -> np.ndarray:
        if self._flat:
            return np.zeros(self.shape, np.float16)
        return np.asarray(self._build(jnp.asarray(self._vertices[frame]), self._frozen))

    def _work(self) -> None:
        try:
            for frame in self._order[: self._limit]:
                if self._stop:
                    return
                volume = self._make(int(frame))
                with self._arrived:
                    self._ready[int(frame)] = volume
                    self._arrived.notify_all()
        except BaseException as error:  # handed to the thread that waits
            with self._arrived:
                self._error = error
                self._arrived.notify_all()

    def get(self, frame: int) -> np.ndarray:
        """(nz, ny, nx, 3) float16 volume of a frame."""
        with self._arrived:
            planned = frame in set(self._order[: self._limit].tolist())
            while planned and frame not in self._ready and self._error is None:
                self._arrived.wait()
            if self._error is not None:
                raise self._error
            if frame in self._ready:
                return self._ready[frame]
        return self._make(frame)

    def close(self) -> None:
        """Stops building."""
        self._stop = True
        self._thread.join()


def digest(capture_digest: str, config: AvatarConfig, spec: AvatarSpec) -> str:
    """Names the volumes: what they were made from and how."""
    made_of = [capture_digest, config.field.mapping, config.field.beta, spec.box, spec.shape]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
