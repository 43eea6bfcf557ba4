"""The patent's semantic guidance: CLIP's code of a rendered picture beside that of the real frame.

CN117115331B, stage 3: the prior vector of a frame is its code joined with its pose, and its cosine
with the rendered picture's vector guides the training, also from cameras that the clip never had.
Only every `prior.every`-th step pays for it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.hull import region_masks
from jaxhead.files.weights import read_weights
from jaxhead.geometry.transforms import matrix_to_axis_angle
from jaxhead.losses.cosine import cosine_similarity, semantic_prior, unit
from jaxhead.networks import clip
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.views import Shot, cropped, render_shot, square_of, turned

ASSET = "clip_vit_b32"
WEIGHT = 0.1
"""Of the term where the user has CLIP's weights and says nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClipPrior:
    """CLIP's image encoder: its sizes, and its variables, which are `Variables.frozen["clip"]`."""

    config: clip.ClipConfig
    variables: dict[str, Any]


def load_clip(path: pathlib.Path) -> ClipPrior:
    """The image encoder of a file in either family of names.

    Raises:
      InputError: not such a file.
    """
    return ClipPrior(*clip.from_state_dict(read_weights(path), source=str(path)))


def clip_code(variables: Any, image: jax.Array, config: clip.ClipConfig) -> jax.Array:
    """(P,) CLIP's code of a picture (h, w, 3) in [0, 1] of any size."""
    pixels = clip.preprocess(image[None], config.image_size)
    found: Any = clip.ClipImageEncoder(config, remat=True).apply(variables, pixels)
    return found.code[0]


def frame_codes(prior: ClipPrior, capture: Capture) -> np.ndarray:
    """(N, P) float32 unit codes of all frames of a capture, of the squares around their heads."""

    @jax.jit
    def code(variables, picture, box):
        corner, side = square_of(box, capture.size)
        image = picture.astype(jnp.float32) / 255
        image = cropped(image, corner, side, prior.config.image_size)
        return unit(clip_code(variables, image, prior.config))

    variables = jax.tree.map(jnp.asarray, prior.variables)
    return np.stack([
        np.asarray(code(variables, capture.frame(n), region_masks(capture.masks(n))[1]))
        for n in range(len(capture))
    ])


def code_components(codes: np.ndarray, train: np.ndarray, dims: int) -> np.ndarray:
    """(N, k) float32 principal components of all frames' codes (N, P), unit deviation in training.

    Args:
      codes: of all frames; train: ids of those that the components are fitted on.
      dims: components wanted; fewer where the frames span fewer.
    """
    centred = codes.astype(np.float64) - codes[train].mean(0)
    _, deviation, directions = np.linalg.svd(centred[train], full_matrices=False)
    deviation = deviation / np.sqrt(max(1, len(train) - 1))
    keep = min(dims, int(np.sum(deviation > 1e-6)))
    return (centred @ directions[:keep].T / deviation[:keep]).astype(np.float32)


def pose_numbers(head_to_camera: jax.Array) -> jax.Array:
    """(6,) a pose (4, 4) as the turn from a face that looks into the camera, axis times angle in
    radians, and the shift in metres.

    Such a face is half a turn from the camera's axes (its y points down, its z away): taken from
    those, two poses that are alike could be vectors of opposite signs.
    """
    facing = jnp.array([[1.0], [-1.0], [-1.0]])
    turn = matrix_to_axis_angle(facing * head_to_camera[:3, :3])
    return jnp.concatenate([turn, head_to_camera[:3, 3]])


def semantic_distance(
    params: Any, state: Any, frozen: dict[str, Any], shot: Shot, frame: jax.Array, *,
    size: tuple[int, int], config: AvatarConfig, clip_config: clip.ClipConfig,
) -> jax.Array:
    """1 - cosine of the prior vectors of a rendered picture and of the real frame, in [0, 2].

    Args:
      params: {"head", "torso"}; state: {"occupancy"}.
      frozen: the run's arrays, and "clip".
      shot: the frame, the square around its head and the camera to render from.
      frame: (H, W, 3) uint8 the real picture.
      size: (H, W); config: the run's; clip_config: of the encoder.

    Both pictures are `prior.size` pixels a side before CLIP sees them, so that sharpness does not
    tell them apart.
    """
    side = config.prior.size
    real = cropped(frame.astype(jnp.float32) / 255, shot.corner, shot.side, side)
    shown = render_shot(params, state, frozen, shot, pixels=side, size=size, config=config)
    wanted = jax.lax.stop_gradient(clip_code(frozen["clip"], real, clip_config))
    found = clip_code(frozen["clip"], shown, clip_config)
    if config.prior.pose:
        wanted = semantic_prior(wanted, pose_numbers(shot.own))
        found = semantic_prior(found, pose_numbers(shot.head_to_camera))
    return 1.0 - cosine_similarity(found, wanted)


def draw_shot(batch: dict[str, Any], *, size: tuple[int, int], config: AvatarConfig) -> Shot:
    """The shot of a batch's first example: as it was taken, or from a camera that turned."""
    key = jax.random.wrap_key_data(batch["noise"][0])
    which, yaw, pitch = jax.random.split(jax.random.fold_in(key, 1), 3)
    prior = config.prior
    unseen = jax.random.uniform(which) < prior.unseen
    angle = jnp.where(unseen, jnp.radians(prior.turn), 0.0)
    own = batch["head_to_camera"][0]
    turns = turned(
        own, angle * jax.random.normal(yaw), 0.5 * angle * jax.random.normal(pitch)
    )
    corner, side = square_of(batch["box"][0], size)
    return Shot(
        # Exactly its own camera where nothing turned.
        head_to_camera=jnp.where(unseen, turns, own), own=own,
        geometry=batch["geometry"][0], condition=batch["condition"][0], sway=batch["sway"][0],
        torso_motion=batch["torso_motion"][0], torso_condition=batch["torso_condition"][0],
        corner=corner, side=side,
    )  # fmt: skip


def semantic_term(
    params: Any, state: Any, frozen: dict[str, Any], batch: dict[str, Any], step: jax.Array, *,
    size: tuple[int, int], config: AvatarConfig, clip_config: clip.ClipConfig,
) -> jax.Array:
    """The loss's term at a step: `semantic_distance` where it is due, else 0 at no cost.

    Args:
      batch: of the feed "rays": its "first" (b,) is the number of devices for the example whose
        picture "picture" is, and 0 for all others, so that the mean over devices is one distance
        whatever their number.
      step: () int32 finished steps.
      others: see `semantic_distance`.
    """
    due = ((step + 1) % config.prior.every == 0) & (batch["first"][0] > 0)
    shot = draw_shot(batch, size=size, config=config)

    def distance(params, rest):
        state, frozen, shot, frame, scale = rest
        return scale * semantic_distance(
            params, state, frozen, shot, frame, size=size, config=config, clip_config=clip_config
        )

    rest = (state, frozen, shot, batch["picture"], batch["first"][0])
    return where_due(distance, params, rest, due)


def where_due(
    function: Callable[[Any, Any], jax.Array], params: Any, rest: Any, due: jax.Array
) -> jax.Array:
    """`function(params, rest)`, a scalar, where `due`, else 0; differentiable once, in `params`.

    The gradient is made together with the value. Differentiated as it is, a conditional would keep
    what its dearer branch keeps for the backward pass, in every step.
    """

    @jax.custom_vjp
    def term(params, rest, due):
        return jax.lax.cond(due, function, lambda *_: jnp.float32(0), params, rest)

    def forward(params, rest, due):
        def nothing(params, _):
            return jnp.float32(0), jax.tree.map(jnp.zeros_like, params)

        return jax.lax.cond(due, jax.value_and_grad(function), nothing, params, rest)

    def backward(gradient, cotangent):
        return jax.tree.map(lambda g: cotangent * g, gradient), None, None

    term.defvjp(forward, backward)
    return term(params, rest, due)
