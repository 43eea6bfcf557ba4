"""Novel views of a synthetic clip for a run whose cameras and meshes were tracked in its video."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.synthetic import Truth
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar.requests import Requests

HEAD, INSIDE = 1, 127
"""The channel of a capture's masks that is the head, and what is more is inside."""


class Tracked(NamedTuple):
    """How a novel camera of the truth looks in a tracker's world.

    Attributes:
      head_to_camera: (4, 4); own, true: metres from the frame's own camera to the head, the
        tracker's and in truth; larger: how many times the tracked head is as large as the true one.
    """

    head_to_camera: np.ndarray
    own: float
    true: float
    larger: float


def tracked_camera(
    requests: Requests, truth: Truth, clip: Capture, view: int, depth: np.ndarray
) -> Tracked:
    """The novel camera goes round the same place of the picture and of the head.

    Args:
      requests: of the run; truth, clip: of the synthetic capture.
      depth: (H, W) metres that the run shows to the frame's own camera, 0 where nothing stands.
    """
    if requests.size != clip.size:
        raise InputError(
            f"the run's pictures are {requests.size[1]} x {requests.size[0]}, the truth's "
            f"{clip.size[1]} x {clip.size[0]}; expected the same"
        )
    frame = truth.view_ids[view]
    measured = truth.frame_depth[np.flatnonzero(truth.frame_ids == frame)[0]]
    known = (clip.masks(frame)[..., HEAD] > INSIDE) & (measured > 0) & (depth > 0)
    if not known.any():
        raise InputError(f"the run shows nothing of the head of frame {frame}")
    depth, measured = depth[known], measured[known]
    true, longer = float(np.median(measured)), float(requests.K[0, 0] / clip.K[0, 0])
    larger = float(np.median(depth / measured)) / longer
    # Not the depth's own median: where reliefs differ, that is the depth of another place.
    own = larger * true + float(np.median(depth - larger * measured))
    pose = clip.head_to_camera[frame].astype(np.float64)
    turned = truth.head_to_camera[view].astype(np.float64)

    def tracked(point):
        """Where the tracker sees a point, whose pixel stays."""
        away = own + larger * (point[2] - true)
        return away * np.array([*(point[:2] / point[2] / longer), 1.0])

    move = np.eye(4)
    move[:3, :3] = (turned @ np.linalg.inv(pose))[:3, :3]
    move[:3, 3] = tracked(turned[:3, 3]) - move[:3, :3] @ tracked(pose[:3, 3])
    moved = np.asarray(move @ requests.own_poses[view], np.float32)
    return Tracked(moved, own, true, larger)
