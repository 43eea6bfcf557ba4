"""A capture in which nothing undoes the head's pose: the run without any mapping, pose included.

    python -m experiments.benchmarks.standing CAPTURE --out STANDING
    for MAPPING in none formula; do
        jaxhead train avatar STANDING --out $MAPPING --set field.mapping=$MAPPING \
            --set surface.hull=false --set loss.unseen=0 --set loss.depth=0
        python -m experiments.benchmarks.novel_views STANDING $MAPPING
    done

Captures keep meshes in a space that moves with the skull, so that even `field.mapping=none` maps by
the rigid pose. Published meshes carry the pose instead (CN117115331B: E and P pose them both), and
a field without the mapping then sees points of the world. STANDING is the same clip in that form:
all frames have the training frames' mean pose, and the meshes move. What needs the head's own space
(the silhouettes' hull, the guess of the far side, sway) means nothing there: both runs go without.
"""

from __future__ import annotations

import pathlib
import shutil
import sys

import numpy as np

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments
from jaxhead.captures.format import Capture, CaptureWriter, load_capture
from jaxhead.captures.pose_predictor import mean_pose
from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.errors import InputError


def moves(capture: Capture) -> tuple[np.ndarray, np.ndarray]:
    """(4, 4) the pose in which all frames stand, and (N, 4, 4) float64 what carries head space
    there, frame by frame."""
    poses = np.asarray(capture.head_to_camera, np.float64)
    standing = mean_pose(poses[capture.train])
    return standing, np.linalg.inv(standing) @ poses


def moved_vertices(vertices: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Vertices (N, V, 3) under rigid motions (N, 4, 4)."""
    return (vertices @ np.swapaxes(move[:, :3, :3], 1, 2) + move[:, None, :3, 3]).astype(np.float32)


def write_standing(capture: Capture, out: str) -> None:
    """Writes `capture` with its poses in its meshes; novel views of a truth go along.

    Raises:
      InputError: `out` exists, or the capture has no mesh.
    """
    if not capture.has_mesh:
        raise InputError(f"{capture.path}: holds no head mesh, expected one")
    standing, move = moves(capture)
    tracking = {
        name: getattr(capture, name)
        for name in ("K", "expression", "landmarks", "torso_motion", "torso_measured", "status")
    }
    count = len(capture)
    tracking |= {
        "head_to_camera": np.repeat(standing[None], count, 0).astype(np.float32),
        "vertices": moved_vertices(np.asarray(capture.vertices), move),
    }
    with CaptureWriter(out, size=capture.size, fps=capture.fps) as writer:
        for index in range(count):
            writer.add(capture.frame(index), capture.masks(index))
        truth = pathlib.Path(capture.path) / "truth"
        if truth.is_dir():
            shutil.copytree(truth, writer.folder / "truth")
            arrays = read_npz(truth / "truth.npz")
            views = arrays["head_to_camera"] @ np.linalg.inv(move[arrays["view_ids"]])
            arrays |= {"head_to_camera": views.astype(np.float32)}
            write_npz(writer.folder / "truth" / "truth.npz", arrays)
        writer.finish(
            tracking=tracking, head=capture.head, background=capture.background,
            source={"name": str(capture.info["source"].get("name", "")), "kind": "standing"},
            split=(capture.train, capture.test),
        )


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the capture to write", flag_values=values, required=True)


def run(arguments: Arguments) -> int:
    """Writes the capture that the flags name."""
    (capture,) = arguments.positionals
    write_standing(load_capture(capture), arguments.flags.out)
    print(f"{arguments.flags.out}: the same clip, its poses in its meshes")
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.standing"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("CAPTURE",)))
