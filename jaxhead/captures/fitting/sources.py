"""Which head `--head` names, ready to be fitted: its landmarks, lids and bounds."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxhead.captures.fitting.config import Deviations, FitConfig
from jaxhead.captures.fitting.marks import CONTOUR, MEDIAPIPE_68, marks_of, skull_joint
from jaxhead.captures.fitting.posing import body_of
from jaxhead.captures.fitting.tracked import Fittable
from jaxhead.files.errors import InputError
from jaxhead.heads.expressions import expression_names
from jaxhead.heads.flame import Embedding, with_landmarks
from jaxhead.heads.loading import LoadedHead, read_head
from jaxhead.heads.model import Array, HeadModel


def fittable_head(
    head: HeadModel,
    *,
    observed: np.ndarray | None = None,
    dynamic: tuple[Array, Array] | None = None,
    lids: np.ndarray | None = None,
    lid_names: tuple[str, ...] = (),
    config: FitConfig | None = None,
) -> Fittable:
    """Returns a head model ready to be fitted.

    Args:
      head: the model.
      observed, dynamic: see `marks_of`.
      lids: (K, V, 3) metres per unit of closing, or None; lid_names: K names.
      config: priors and length of the work, adapted to the head's expressions.

    Raises:
      InputError: the head's landmarks are not known to be MediaPipe's.
    """
    config = config_for(head, config)
    shapes, faces = config.identity_components, config.expression_components
    if config.bounded:
        faces = len(np.asarray(head.expression_basis))
    head = head.replace(  # pyright: ignore[reportAttributeAccessIssue]
        identity_basis=np.asarray(head.identity_basis)[:shapes],
        expression_basis=np.asarray(head.expression_basis)[:faces],
        expression_names=head.expression_names[:faces],
    )
    if not len(np.asarray(head.landmark_faces)):
        raise InputError(f"head {head.name!r} has no landmarks, a fit needs them")
    body = body_of(head, lids, skull=skull_joint(head))
    marks = marks_of(head, body, observed=observed, contour=config.contour, dynamic=dynamic)
    return Fittable(head, body, marks, config, lid_names)


def config_for(head: HeadModel, config: FitConfig | None = None) -> FitConfig:
    """Returns the settings with what the head's expressions ask for.

    Expressions with ARKit's names are shares of a full pose, within [0, 1]; coefficients of a
    principal component analysis are deviations of either sign.
    """
    config = config or FitConfig()
    named = set(head.expression_names) & set(expression_names())
    if len(named) < 10:
        return config
    deviations: Deviations = dataclasses.replace(config.deviations, expression=0.5)
    return dataclasses.replace(config, bounded=True, deviations=deviations)


def read_fittable(spec: str) -> Fittable:
    """Returns the head that KIND:PATH names.

    Args:
      spec: flame:PATH, bfm:PATH or npz:PATH, see `heads.loading.read_head`.

    Raises:
      InputError: an unknown kind, a missing or wrong file, landmarks that are not known.
    """
    if spec == "mediapipe" or spec.startswith("mediapipe:"):
        raise InputError(f"head {spec!r}: its landmarks are the mesh, there is nothing to fit")
    try:
        return fittable_of(read_head(spec))
    except InputError as error:
        path = spec.partition(":")[2]
        raise error if path in str(error) else InputError(f"{path}: {error}") from None


def fittable_of(loaded: LoadedHead) -> Fittable:
    """Returns a loaded head ready to be fitted.

    FLAME with MediaPipe's embedding is met in its 105 points and the jaw line of the 68, without it
    in the 68.

    Raises:
      InputError: the head has no landmarks that are MediaPipe's.
    """
    head, numbers = loaded.model, loaded.landmark_indices
    contour = loaded.contour
    if loaded.mediapipe is not None and len(np.asarray(head.landmark_faces)) in (68, 70):
        own = slice(0, CONTOUR)
        head = with_landmarks(head, Embedding(
            np.concatenate([head.landmark_faces[own], loaded.mediapipe.faces]),
            np.concatenate([head.landmark_weights[own], loaded.mediapipe.weights]),
        ))  # fmt: skip
        assert loaded.mediapipe_indices is not None
        numbers = np.concatenate([MEDIAPIPE_68[:CONTOUR], loaded.mediapipe_indices])
    elif numbers is not None:
        contour = None
    return fittable_head(
        head,
        observed=numbers,
        dynamic=None if contour is None else (contour.faces, contour.weights),
        lids=loaded.lids,
        lid_names=loaded.lid_names,
    )
