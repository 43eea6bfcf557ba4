"""A sheet over the front of the head: points whose grey values frames are compared by.

Seen from the front, the template's surface is sampled on a square raster of points; beside the
head the sheet goes on at the depth of the nearest outline, so that hair that stands off it is on
the sheet too; `captures/parallax.py` raises it to where hair really is. The raster's pixels are
grouped into cells, at whose corners sit the nodes of a lattice of small shifts in x and y: a shift
anywhere on the sheet is bilinear between its cell's four nodes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxhead.geometry.rasterise import rasterise
from jaxhead.heads.model import HeadModel

NODES = 17
CELL = 9
_AT_NODES = np.ix_(*[np.minimum(np.arange(NODES) * CELL, CELL * (NODES - 1) - 1)] * 2)
"""Places in the raster of the points beside the lattice's nodes."""
MARGIN = 0.07
"""Metres around the template that the sheet covers: hair reaches beyond it."""
_RIGID = ("face", "lips", "eyes", "mouth", "teeth")
_SOFT = 4.0  # pixels over which the depth beside the head is smoothed
_BY_EARS = 0.025
"""Metres from an ear within which nodes are held as on skin. Ears stand still on the skull, and are
narrower than a cell: under the sway of the hair beside them a field lets hair grow over them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sheet:
    """A raster of S x S points, S = CELL (NODES - 1), row by row from the top (largest y).

    Attributes:
      box: (2, 2) metres, x and y of the lower and upper corner; the lattice's outermost nodes.
      corners: (S * S, 3) int32 and weights (S * S, 3): where on the mesh a point is.
      covered: (S * S,) bool, False beside the mesh.
      beside: (S * S, 3) float32 metres, the places of points beside the mesh.
      skin: (NODES, NODES) in [0, 1], row 0 at the top: how far a node lies on tracked skin, or
        beside an ear.
      raised: (S * S,) metres by which the points stand before (+z) the surface just told.
    """

    box: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    covered: np.ndarray
    beside: np.ndarray
    skin: np.ndarray
    raised: np.ndarray

    @property
    def pitch(self) -> float:
        """Metres between neighbouring points."""
        return float(self.box[1, 0] - self.box[0, 0]) / (CELL * (NODES - 1))

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """(B, S * S, 3) float32 metres of the points on meshes (B, V, 3)."""
        corners = np.asarray(vertices, np.float32)[:, self.corners]
        on_mesh = np.einsum("pk,bpkc->bpc", self.weights, corners)
        points = np.where(self.covered[:, None], on_mesh, self.beside)
        points[..., 2] += self.raised
        return points

    def nodes(self, vertices: np.ndarray) -> np.ndarray:
        """(NODES * NODES, 3) metres of the lattice's nodes on a mesh (V, 3)."""
        side = CELL * (NODES - 1)
        depth = self.points(vertices[None])[0, :, 2].reshape(side, side)[_AT_NODES]
        x, y = np.linspace(self.box[0], self.box[1], NODES).T
        across, up = np.meshgrid(x, y[::-1])
        return np.stack([across, up, depth], -1).reshape(-1, 3)

    def raised_by(self, heights: np.ndarray) -> Sheet:
        """The sheet with nodes (NODES * NODES,) metres further forward, bilinear between them."""
        more = np.asarray(spread(jnp.asarray(heights, jnp.float32)[:, None]))[:, 0]
        return dataclasses.replace(self, raised=self.raised + more)


def sheet_box(template: np.ndarray) -> np.ndarray:
    """(2, 2) float32 metres, x and y of a sheet's corners over a template (V, 3)."""
    low, high = template[:, :2].min(0), template[:, :2].max(0)
    half = (high - low).max() / 2 + MARGIN
    return np.stack([(low + high) / 2 - half, (low + high) / 2 + half]).astype(np.float32)


def make_sheet(head: HeadModel) -> Sheet:
    """The sheet of a head's template."""
    template, faces = np.asarray(head.template), np.asarray(head.faces)
    side = CELL * (NODES - 1)
    box = sheet_box(template)
    pitch = (box[1, 0] - box[0, 0]) / side
    pixels = np.stack([template[:, 0] - box[0, 0], box[1, 1] - template[:, 1]], -1) / pitch
    # Orthographic: with all depths far away and alike, weights are those of the plane.
    drawn = jax.jit(rasterise, static_argnums=3)
    face, weights, _ = map(
        np.asarray, drawn(pixels, 1000.0 - template[:, 2], faces, (side, side))
    )
    covered = face >= 0
    corners = faces[np.where(covered, face, 0)]
    depth = np.einsum("hwk,hwk->hw", weights, template[corners][..., 2])
    found: Any = ndimage.distance_transform_edt(~covered, return_indices=True)
    nearest = found[1]
    depth = ndimage.gaussian_filter(depth[tuple(nearest)], _SOFT)
    x, y = np.meshgrid(
        box[0, 0] + (np.arange(side) + 0.5) * pitch, box[1, 1] - (np.arange(side) + 0.5) * pitch
    )

    def within(names: tuple[str, ...]) -> np.ndarray:
        """(side, side) share of a point's corners in some regions, 0 beside the mesh."""
        chosen = [head.region_names.index(n) for n in names if n in head.region_names]
        return np.where(covered, np.isin(head.regions, chosen)[corners].mean(-1), 0.0)

    skin = ndimage.gaussian_filter(within(_RIGID), 2.0)
    near = 2 * round(_BY_EARS / pitch) + 1
    skin = np.maximum(skin, ndimage.maximum_filter(within(("ears",)), near))
    return Sheet(
        box=box,
        corners=corners.reshape(-1, 3).astype(np.int32),
        weights=weights.reshape(-1, 3).astype(np.float32),
        covered=covered.reshape(-1),
        beside=np.stack([x, y, depth], -1).reshape(-1, 3).astype(np.float32),
        skin=skin[_AT_NODES].astype(np.float32),
        raised=np.zeros(side * side, np.float32),
    )


def _hats() -> np.ndarray:
    """(4, CELL * CELL) weights of a cell's corner nodes at its pixels."""
    share = (np.arange(CELL) + 0.5) / CELL
    hat = np.stack([1 - share, share])
    return np.einsum("ai,bj->abij", hat, hat).reshape(4, -1).astype(np.float32)


def _cell_nodes() -> np.ndarray:
    """(cells, 4) numbers of the nodes at each cell's corners."""
    ids = np.arange(NODES * NODES).reshape(NODES, NODES)
    corners = (ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:])
    return np.stack(corners, -1).reshape(-1, 4)


HATS, CELL_NODES = _hats(), _cell_nodes()


def spread(lattice: jax.Array) -> jax.Array:
    """(S * S, C) values at the sheet's points of a lattice (NODES * NODES, C)."""
    cells = NODES - 1
    values = jnp.einsum("kp,ckd->cpd", HATS, lattice[CELL_NODES])
    values = values.reshape(cells, cells, CELL, CELL, -1).swapaxes(1, 2)
    return values.reshape(cells * CELL * cells * CELL, -1)


def by_cell(values: jax.Array) -> jax.Array:
    """(cells, CELL * CELL, ...) the points' values (S * S, ...) grouped by cell."""
    cells, rest = NODES - 1, values.shape[1:]
    values = values.reshape(cells, CELL, cells, CELL, *rest).swapaxes(1, 2)
    return values.reshape(cells * cells, CELL * CELL, *rest)
