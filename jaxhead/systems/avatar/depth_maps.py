"""Reference depths of frames: which pixel is deeper than which, and how far some are.

A map of the order is uint16: 0 where nothing is known, else 1 for the nearest of what the frame's
head mask covers to `DEEPEST` for its deepest. Scale and shift are lost on purpose: no monocular
estimate knows them.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.hull import SKIN
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_layer
from jaxhead.files.weights import find_weights, read_weights
from jaxhead.geometry.cameras import project
from jaxhead.geometry.rasterise import rasterise
from jaxhead.networks import depth_anything
from jaxhead.networks.resample import linear_weights, resample
from jaxhead.systems.avatar.config import AvatarConfig

DEEPEST = 65535
_OWN = ("mesh", "skin", "capture")
METRIC_UNIT = 1e-4
"""Metres that a metric depth's 1 stands for."""
WEIGHTS = "depth_anything_v2_small"


def normalised(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(H, W) uint16 map of depths in any unit, larger is deeper.

    Args:
      depth: (H, W); known: (H, W) bool, whose range becomes the map's.
    """
    coded = np.zeros(depth.shape, np.uint16)
    if known.any():
        values = depth[known].astype(np.float64)
        low, high = values.min(), values.max()
        share = (values - low) / max(high - low, np.finfo(np.float64).tiny)
        coded[known] = np.round(1 + share * (DEEPEST - 1)).astype(np.uint16)
    return coded


class DepthMaps:
    """Maps by frame id: `get` from where `prior.depth` says, `metric` from `prior.distance`.

    "mesh" draws the frame's tracked mesh, "skin" what of it is the face's skin, which lies where
    the mesh says (hair and collar do not); "capture" reads the capture's layer "depth"; "folder"
    reads depth/NAME/FRAME.png of the assets, NAME being the capture's, FRAME six digits;
    "depth anything" asks the network.
    """

    def __init__(
        self, capture: Capture, config: AvatarConfig, assets: str | os.PathLike | None = None
    ):
        """Opens what is needed.

        Raises:
          InputError: the layer, the folder or the network's weights are missing.
        """
        self._capture, self._prior = capture, config.prior
        self._folder = pathlib.Path()
        source = config.prior.depth if config.loss.depth_ordinal > 0 else ""
        distance = config.prior.distance if config.loss.depth > 0 else ""
        for name, wanted in (("depth", source), ("distance", distance)):
            if wanted == "capture" and "depth" not in capture.layers():
                reads = f"prior.{name}=capture reads"
                raise InputError(f"{capture.path}: has no layer depth, which {reads}")
        if source == "folder":
            self._folder = _folder(capture, assets)
        if source == "depth anything":
            self._network = _network(find_weights(WEIGHTS, assets), config.prior.depth_size)
        drawn = {source, distance} & {"mesh", "skin"}
        self._draws = {name: _mesh_depth(capture, name == "skin") for name in drawn}

    def get(self, frame: int) -> np.ndarray:
        """The map (H, W) uint16 of a frame.

        Raises:
          InputError: its file is missing, damaged or of another size.
        """
        capture, source = self._capture, self._prior.depth
        head = capture.masks(frame)[..., 1] > 127
        if source in _OWN:
            depth = self._own(source, frame)
            return normalised(depth, head & (depth > 0))
        if source == "folder":
            return self._from_folder(frame, head)
        picture = jnp.asarray(capture.frame(frame), jnp.float32) / 255
        # The network gives inverse depth.
        return normalised(-np.asarray(self._network(picture)), head)

    def metric(self, frame: int) -> np.ndarray:
        """(H, W) uint16 depth along the camera's axis in `METRIC_UNIT`, 0 where there is none or
        nobody stands, for "skin" no head.
        """
        source = self._prior.distance
        depth = self._own(source, frame).astype(np.float64)
        if source == "capture":
            depth *= float(self._capture.info.get("depth_unit", 1e-3))
        coded = np.round(depth / METRIC_UNIT)
        masks = self._capture.masks(frame)
        known = masks[..., 1] > 127 if source == "skin" else masks[..., 0] > 0
        known = known & (coded > 0) & (coded <= DEEPEST)
        return np.where(known, coded, 0).astype(np.uint16)

    def _own(self, source: str, frame: int) -> np.ndarray:
        """(H, W) depths of the mesh in metres, or of the layer in its unit; 0 for none."""
        if source == "capture":
            return self._capture.layer("depth", frame)
        capture = self._capture
        draw = self._draws[source]
        return np.asarray(draw(capture.vertices[frame], capture.head_to_camera[frame]))

    def _from_folder(self, frame: int, head: np.ndarray) -> np.ndarray:
        file = self._folder / f"{frame:06d}.png"
        depth = read_layer(file)
        if depth.shape != tuple(self._capture.size):
            raise InputError(f"{file}: shape {depth.shape}, expected grey of {self._capture.size}")
        known = head & (depth > 0)
        depth = depth.astype(np.int64)
        return normalised(-depth if self._prior.inverse else depth, known)


def _folder(capture: Capture, assets: str | os.PathLike | None) -> pathlib.Path:
    if assets is None:
        raise InputError("prior.depth=folder needs --assets, the folder that holds depth/")
    folder = pathlib.Path(assets) / "depth" / capture.path.absolute().name
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected depth maps of {capture.path}")
    return folder


def _mesh_depth(capture: Capture, skin: bool):
    faces, K, size = jnp.asarray(capture.head.faces), jnp.asarray(capture.K), capture.size
    names = capture.head.region_names
    used = np.isin(capture.head.regions, [names.index(name) for name in SKIN if name in names])
    used = jnp.asarray(used[np.asarray(faces)].all(-1) if skin else np.ones(len(faces), bool))

    @jax.jit
    def draw(vertices, head_to_camera):
        pixels, depth = project(vertices, K, head_to_camera)
        face, _, depth = rasterise(pixels, depth, faces, size)
        return jnp.where((face >= 0) & used[face], depth, 0.0)

    return draw


def _network(path: pathlib.Path, size: int):
    config, variables = depth_anything.from_state_dict(read_weights(path), source=str(path))
    return estimator(config, variables, size)


def estimator(config: depth_anything.DepthAnythingConfig, variables: dict[str, Any], size: int):
    """A compiled function: picture (H, W, 3) in [0, 1] -> inverse depth (H, W).

    Args:
      config, variables: of `depth_anything.from_state_dict`.
      size: about the shorter side that the network sees.
    """
    network = depth_anything.DepthAnything(config)

    @jax.jit
    def run(variables, picture):
        seen = depth_anything.preprocess(picture[None], size, config.patch)
        depth: Any = network.apply(variables, seen)
        found = depth[..., None]
        weights = [linear_weights(n, m) for n, m in zip(found.shape[1:3], picture.shape)]
        return resample(found, *weights)[0, ..., 0]

    variables = jax.tree.map(jnp.asarray, variables)
    return lambda picture: run(variables, picture)
