"""Sway measured again, with the trained head as the template.

A capture registers its frames with means of other frames. Once a head is trained, its picture of a
frame (in the frame's own pose, expression and sway) is a better template: sharp, seen from the same
side, with the same things hidden. At some steps on the way the training frames' sway is measured so
and the training goes on with it; at its end that of the held-out frames is, with all that was
learned left as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import numpy as np
from scipy import ndimage

from jaxhead.captures.format import Capture
from jaxhead.captures.pose_predictor import predictor_to_arrays
from jaxhead.captures.sheet import NODES, Sheet, make_sheet, sheet_box
from jaxhead.captures.sway_align import align, curvature, stiffness
from jaxhead.captures.sway_predictor import fit_sway_predictor, less_of_pose
from jaxhead.captures.sway_textures import MILLIMETRE, look_up
from jaxhead.captures.validate import MEASURED
from jaxhead.heads.model import HeadModel
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.pictures import renderer
from jaxhead.systems.avatar.requests import Requests, make_requests
from jaxhead.training.system import Revision, Variables

_LARGEST_SIDE = 256
"""Pixels: square pictures above are compared at this size, which shows shifts as well."""
_BLURS = (1.0, 0.5, 0.5, 0.5, 0.5)
"""Pixels (standard deviation), by round."""
_BATCH = 4
"""Frames between two looks at whether to end."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def revision(
    capture: Capture, spec: AvatarSpec, inputs: dict[str, np.ndarray],
    frozen: dict[str, np.ndarray], head: HeadModel, config: AvatarConfig,
) -> Revision | None:
    """The avatar's revisions; None where the recipe or the capture has no sway to measure.

    Args:
      capture: whose frames are looked at.
      spec, inputs, frozen, head, config: of the run.
    """
    moves = inputs["sway"].shape[1] == NODES and bool(np.any(inputs["sway"]))
    if not config.motion.again or not moves:
        return None
    # A lattice that stands elsewhere was not measured on this head's sheet.
    if not np.allclose(sheet_box(np.asarray(head.template)), inputs["sway_box"], atol=1e-4):
        return None

    def steps(total: int) -> tuple[int, ...]:
        each = config.motion.again * total / config.motion.times
        on_the_way = (max(1, round(k * each)) for k in range(1, config.motion.times + 1))
        return tuple(sorted({*on_the_way, total}))

    def measure(variables: Variables, arrays, last: bool, say, stopped):
        sway, split = np.asarray(arrays["sway"]), "test" if last else "train"
        if len(inputs[split]) == 0:
            return {"sway": sway}
        sheet = make_sheet(head)
        frames = _Frames(capture, sheet, spec, inputs | {"sway": sway}, head, config, split)
        say(f"avatar: the head is the template now: measures sway of {len(frames.ids)} "
            f"{'held-out' if last else 'training'} frames again")  # fmt: skip
        start = time.monotonic()
        render = renderer(variables, frozen, frames.requests.size, _of_templates(config))
        # Nothing comes after the last one to make up for what it misses.
        found = _measured(frames, render, config, config.motion.rounds + last, stopped)
        if found is None:
            return None
        moved = np.sqrt(np.mean((found - sway[inputs[split]]) ** 2)) / MILLIMETRE
        say(f"avatar: it moved by {moved:.2f} mm (rms), {time.monotonic() - start:.0f} s")
        sway = sway.copy()
        sway[inputs[split]] = found
        if not last:
            train = inputs["train"][inputs["status"][inputs["train"]] == MEASURED]
            less = less_of_pose(inputs["head_to_camera"], sway, train, config.motion.pose)
            sway[inputs[split]] = less[inputs[split]]
        return {"sway": sway}

    return Revision(feed="rays", steps=steps, measure=measure)


def _of_templates(config: AvatarConfig) -> AvatarConfig:
    """The configuration of the pictures that frames are registered with: from the camera's own side
    a training ray's samples do, and more would cost half as much again for every frame."""
    return dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, finer=1))


def revised_inputs(
    inputs: dict[str, np.ndarray], revised: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A run's inputs with what was measured again, and its prediction from the pose."""
    if not revised:
        return inputs
    train = inputs["train"]
    predictor = fit_sway_predictor(
        inputs["head_to_camera"], revised["sway"], train[inputs["status"][train] == MEASURED]
    )
    return inputs | revised | predictor_to_arrays(predictor, "sway_predictor")


class _Frames:
    """What is looked at: evenly spaced frames of a split."""

    def __init__(
        self, capture: Capture, sheet: Sheet, spec: AvatarSpec, inputs: dict[str, np.ndarray],
        head: HeadModel, config: AvatarConfig, split: str,
    ):
        square = spec.size[0] == spec.size[1] > _LARGEST_SIDE
        options = RenderOptions(split=split, size=_LARGEST_SIDE if square else None)
        self.requests: Requests = make_requests(options, spec, inputs, head, config)
        self._capture, self.sheet = capture, sheet
        self.all = self.requests.frame_ids
        count = min(len(self.all), config.motion.frames)
        self.places = np.round(np.linspace(0, len(self.all) - 1, count)).astype(int)
        self.ids = self.all[self.places]

    def truth(self, frame: int) -> np.ndarray:
        """(2, H, W) float32 grey values and where the head is, in [0, 1]."""
        grey = self._capture.frame(frame).astype(np.float32) @ _GREY
        layers = [grey, self._capture.masks(frame)[..., 1]]
        size = self.requests.size
        if grey.shape != size:
            from PIL import Image

            size = size[1], size[0]
            floats = (Image.fromarray(np.asarray(layer, np.float32)) for layer in layers)
            layers = [np.asarray(x.resize(size, Image.Resampling.BOX)) for x in floats]
        return np.stack(layers).astype(np.float32) / 255


def _measured(
    frames: _Frames, render: Callable[[Requests, int], dict[str, jax.Array]],
    config: AvatarConfig, rounds: int, stopped: Callable[[], bool],
) -> np.ndarray | None:
    """(n, G, G, 2) metres of the frames of the split, None where `stopped()`."""
    requests = frames.requests
    stiff = config.motion.stiffness * stiffness(frames.sheet.skin, config.motion.skin)
    found = requests.sway[frames.places]
    for blur in _BLURS[:rounds]:
        sway = requests.sway.copy()
        sway[frames.places] = found
        turn = dataclasses.replace(requests, sway=sway)
        parts = []
        for start in range(0, len(frames.places), _BATCH):
            if stopped():
                return None
            places = frames.places[start : start + _BATCH]
            padded = np.pad(places, (0, _BATCH - len(places)), mode="edge")
            parts.append(_registered(frames, turn, render, padded, stiff, blur)[: len(places)])
        found = np.concatenate(parts)
    return _between(frames, found - requests.sway[frames.places]) + requests.sway


def _registered(frames, requests, render, places, stiff, blur) -> np.ndarray:
    """(B, G, G, 2) metres of frames after one registration with their own pictures."""
    # Places that fill a batch up are drawn once.
    fresh = dict.fromkeys(places)
    drawn = {place: np.asarray(render(requests, place)["rgb"]) @ _GREY for place in fresh}
    shown = {place: frames.truth(int(frames.all[place])) for place in fresh}
    grey = np.stack([drawn[place] for place in places])
    pictures = np.stack([shown[place] for place in places])
    pictures[:, 0] = ndimage.gaussian_filter(pictures[:, 0], (0, blur, blur))
    grey = ndimage.gaussian_filter(grey, (0, blur, blur))
    points = frames.sheet.points(requests.vertices[places])
    poses = requests.head_to_camera[places].astype(np.float32)
    K = np.asarray(requests.K, np.float32)
    # Rows of the sheet run downwards, those of the lattice with y.
    shifts = (requests.sway[places][:, ::-1] / MILLIMETRE).astype(np.float32)
    shifts = np.ascontiguousarray(shifts).reshape(len(places), -1, 2)
    template, known = _templates(np.stack([grey, np.ones_like(grey)], 1), points, poses, shifts, K)
    pitch = frames.sheet.pitch
    bend = [curvature(*one, pitch) for one in zip(np.asarray(template), np.asarray(known))]
    regular = np.asarray(bend, np.float32)[:, None, None] * stiff
    moved = np.asarray(_aligned(
        pictures, points, poses, shifts, K, template, known, regular, pitch=pitch
    ))
    return moved.reshape(-1, NODES, NODES, 2)[:, ::-1] * np.float32(MILLIMETRE)


@jax.jit
def _templates(pictures, points, poses, shifts, K) -> tuple[jax.Array, jax.Array]:
    """(B, P) grey values and (B, P) weights of what pictures show of the sheet."""
    return jax.vmap(functools.partial(look_up, K=K))(pictures, points, poses, shifts)


@functools.partial(jax.jit, static_argnames="pitch")
def _aligned(pictures, points, poses, shifts, K, template, known, regular, *, pitch):
    """`sway_align.align` with a regulariser per frame."""

    def one(picture, points, pose, shift, template, known, regular):
        batch = (x[None] for x in (picture, points, pose, shift))
        return align(*batch, K, template[None], known[None], regular, pitch=pitch)[0]

    return jax.vmap(one)(pictures, points, poses, shifts, template, known, regular)


def _between(frames: _Frames, correction: np.ndarray) -> np.ndarray:
    """(n, G, G, 2) corrections of all frames of the split, linear between those looked at."""
    if len(correction) == len(frames.all):
        return correction
    after = np.clip(np.searchsorted(frames.ids, frames.all), 1, len(frames.ids) - 1)
    left, right = frames.ids[after - 1], frames.ids[after]
    share = np.clip((frames.all - left) / np.maximum(right - left, 1), 0, 1).astype(np.float32)
    share = share[:, None, None, None]
    return (1 - share) * correction[after - 1] + share * correction[after]
