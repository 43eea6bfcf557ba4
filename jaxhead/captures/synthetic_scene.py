"""The synthetic person as one mesh, and how it is posed and lit.

Light is described in the first camera's space with x right, y up and z towards the camera: it stays
where it is when the head turns or a second camera looks from the side.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.synthetic_body import ears, torso_parts
from jaxhead.captures.synthetic_hair import hair_parts, hair_share
from jaxhead.captures.synthetic_identity import bend, bent_basis
from jaxhead.captures.synthetic_parts import (
    Part,
    eyeballs,
    lid_rims,
    skin_parts,
    teeth_and_tongue,
)
from jaxhead.captures.synthetic_texture import paint, tile_uv
from jaxhead.geometry.meshes import vertex_normals
from jaxhead.heads.distance import smoothstep
from jaxhead.heads.model import Array
from jaxhead.heads.sculpture import head_distance

_HIGHEST = jax.lax.Precision.HIGHEST
_KEY = (-0.42, 0.52, 0.74)


@flax.struct.dataclass
class Scene:
    """The person and its texture.

    N vertices of which the first M move with expressions, F faces of which the first G are theirs.

    Attributes:
      points: (N, 3) metres in head space, neutral.
      basis: (E, M, 3) metres per unit score.
      faces: (F, 3) int32.
      moving_faces: (G, 3) int32, faces among the first M vertices.
      normals: (N, 3) unit normals in head space; those of the first M are found anew per frame.
      uv: (N, 2) texture pixels (column, row).
      torso: (N,) share of the torso's motion.
      torso_faces: (F,) True where a face belongs to the torso's mask.
      gloss: (N,) strength of the highlight.
      tint: (N, 3) factor on the texture.
      key: (N,) share of the key light that reaches the neutral point.
      texture: (rows, columns, 3) linear colour.
    """

    points: Array
    basis: Array
    faces: Array
    moving_faces: Array
    normals: Array
    uv: Array
    torso: Array
    torso_faces: Array
    gloss: Array
    tint: Array
    key: Array
    texture: Array


def build_scene(rng: np.random.Generator, person: dict[str, float]) -> Scene:
    """Returns a person; tone of skin, hair, eyes and clothes are drawn from `rng`.

    Args:
      rng: consumed.
      person: proportions of the head, see `synthetic_identity`.
    """
    texture = paint(rng)
    skin, bag = skin_parts()
    # Hair shades the skin beside it.
    shaded = 1 - 0.4 * smoothstep(1.6 * hair_share(skin.points + [0, 0.6, -0.3]))
    skin = skin._replace(tint=skin.tint * shaded[:, None])
    hair = hair_parts(skin, rng)
    skin = skin._replace(**_without_scalp(skin))
    moving = [skin, bag, *lid_rims(), *eyeballs(), *teeth_and_tongue()]
    still = [*ears(), *hair, *torso_parts()]
    parts = moving + still
    starts = np.cumsum([0] + [len(part.points) for part in parts])
    points = np.concatenate([part.points for part in parts])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts)])
    normals = np.concatenate([_part_normals(part) for part in parts])
    single = np.float32
    basis = np.concatenate([p.basis for p in moving if p.basis is not None], 1) / 100
    basis = bent_basis(points[: basis.shape[1]] / 100, basis, person)
    scene = Scene(
        points=bend(points / 100, person).astype(single),
        basis=basis.astype(single),
        faces=faces.astype(np.int32),
        moving_faces=faces[: sum(len(part.faces) for part in moving)].astype(np.int32),
        normals=normals.astype(single),
        uv=np.concatenate([tile_uv(part.uv, part.tile) for part in parts]).astype(single),
        torso=np.concatenate([part.torso for part in parts]).astype(single),
        torso_faces=np.concatenate([part.torso_faces for part in parts]),
        gloss=np.concatenate([np.full(len(p.points), p.gloss) for p in parts]).astype(single),
        tint=np.concatenate([part.tint for part in parts]).astype(single),
        key=_key_light(points, normals).astype(single),
        texture=texture,
    )
    return jax.device_put(scene)


def _without_scalp(skin: Part) -> dict[str, np.ndarray]:
    """Returns the skin's faces without those that lie deep under the hair, far from its edge."""
    y, z = skin.points[:, 1], skin.points[:, 2]
    deep = (y > 11.5) | ((z < -8.0) & (y > 0.0))
    hidden = (deep & (hair_share(skin.points) > 0.97))[skin.faces].all(1)
    return {"faces": skin.faces[~hidden], "torso_faces": skin.torso_faces[~hidden]}


def _part_normals(part: Part) -> np.ndarray:
    normal = _host_normals(part.points, part.faces)
    if part.tile != "hair":
        return normal
    # A ribbon has two sides, and hair is lit like the volume it fills.
    value = head_distance(part.points)
    outward = np.stack([head_distance(part.points + 0.1 * a) - value for a in np.eye(3)], -1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    facing = normal * np.sign((normal * outward).sum(1, keepdims=True))
    blend = outward + 0.8 * facing
    return blend / np.linalg.norm(blend, axis=1, keepdims=True)


def _host_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = np.moveaxis(points[faces], 1, 0)
    area = np.cross(b - a, c - a)
    total = np.stack(
        [
            sum(np.bincount(faces[:, k], area[:, axis], len(points)) for k in range(3))
            for axis in range(3)
        ],
        1,
    )
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)


def _key_light(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1] how much key light passes the neutral head (Quilez, soft shadows)."""
    direction = np.array(_KEY) / np.linalg.norm(_KEY)
    light = np.ones(len(points))
    for reach in (0.5, 0.9, 1.5, 2.4, 3.6, 5.2, 7.5):
        free = head_distance(points + 0.25 * normals + reach * direction)
        light = np.minimum(light, np.clip(0.55 + 2.8 * free / reach, 0, 1))
    return 0.25 + 0.75 * smoothstep(light)


def pose_scene(
    scene: Scene, expression: jax.Array, head_to_camera: jax.Array, torso_to_camera: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the posed vertices (N, 3) in OpenCV camera space, metres, and their normals (N, 3).

    Args:
      scene: the person.
      expression: (E,) scores.
      head_to_camera: (4, 4) pose of the head.
      torso_to_camera: (4, 4) pose of the torso, in whose rest pose it equals the head's.
    """
    count = scene.basis.shape[1]
    moved = scene.points[:count] + jnp.einsum(
        "e,emk->mk", expression, scene.basis, precision=_HIGHEST
    )
    normals = jnp.concatenate([vertex_normals(moved, scene.moving_faces), scene.normals[count:]])
    points = jnp.concatenate([moved, scene.points[count:]])
    share = jnp.asarray(scene.torso)[:, None]
    poses = (head_to_camera, torso_to_camera)
    placed = [_matmul(points, pose[:3, :3]) + pose[:3, 3] for pose in poses]
    turned = [_matmul(normals, pose[:3, :3]) for pose in poses]
    return (
        (1 - share) * placed[0] + share * placed[1],
        (1 - share) * turned[0] + share * turned[1],
    )


def light_vertices(
    scene: Scene, vertices: jax.Array, normals: jax.Array, eye: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the light on each vertex: diffuse factor (N, 3) and highlight (N, 3), linear.

    Args:
      scene: the person.
      vertices: (N, 3) in the first camera's space, metres.
      normals: (N, 3) unit.
      eye: (3,) where the viewing camera stands, in the same space.
    """
    flip = jnp.array([1.0, -1.0, -1.0])
    normal = normals * flip
    view = (eye - vertices) * flip
    view = view / jnp.linalg.norm(view, axis=-1, keepdims=True)
    key = jnp.array(_KEY) / jnp.linalg.norm(jnp.array(_KEY))
    fill = jnp.array([0.8, 0.15, 0.58])
    # Light bleeds around the edge of the shadow, red farthest (wrapped diffuse).
    wrap = jnp.array([0.32, 0.20, 0.16])
    facing = (normal @ key)[:, None]
    diffuse = jnp.clip((facing + wrap) / (1 + wrap), 0, None) * scene.key[:, None]
    side = jnp.clip((normal @ fill)[:, None] * 0.7 + 0.3, 0, None)
    up = 0.5 + 0.5 * normal[:, 1:2]
    ambient = up * jnp.array([0.50, 0.52, 0.56]) + (1 - up) * jnp.array([0.30, 0.25, 0.22])
    light = 1.15 * diffuse * jnp.array([1.05, 0.99, 0.90])
    light = light + side * jnp.array([0.20, 0.22, 0.26]) + 0.62 * ambient
    half = view + key
    half = half / jnp.linalg.norm(half, axis=-1, keepdims=True)
    sharp = 14.0 + 60.0 * jnp.clip(scene.gloss - 0.3, 0, None)
    shine = jnp.clip((normal * half).sum(-1), 0, None) ** sharp
    rim = (1 - jnp.clip((normal * view).sum(-1), 0, 1)) ** 4
    gleam = jnp.multiply(scene.gloss, scene.key) * (0.22 + 0.004 * sharp)
    gleam = gleam * (shine + 0.25 * rim * up[:, 0])
    return light * scene.tint, gleam[:, None] * jnp.array([1.0, 0.98, 0.94])


def _matmul(points: jax.Array, rotation: jax.Array) -> jax.Array:
    return jnp.matmul(points, rotation.T, precision=_HIGHEST)
