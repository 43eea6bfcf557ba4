"""What the tracker is told: deviations of the priors, robustness, how long it works."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deviations:
    """Standard deviations that a fit expects.

    Attributes:
      mark: of a landmark, as a share of the face's size in the picture.
      identity, expression, lids: of coefficients in the units of the model's bases.
      turn: of a free joint's axis-angle entries in radians (jaw and eyes).
      distance: of the logarithm of the head's distance to the camera.
    """

    mark: float = 0.01
    identity: float = 1.0
    expression: float = 1.0
    lids: float = 0.5
    turn: float = 0.2
    distance: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steadiness:
    """Standard deviations of the change from one frame to the next (a random walk).

    Attributes:
      turn: of the head's rotation in radians; place: of its place in the view and of the
        logarithm of its depth.
      expression, lids: of coefficients; joint: of a free joint's axis-angle entries in radians.
    """

    turn: float = 0.03
    place: float = 0.01
    expression: float = 0.4
    lids: float = 0.4
    joint: float = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of `fit_head`.

    Attributes:
      deviations, steadiness: the priors.
      usual_distance: metres between camera and head where the clip does not tell.
      robust: deviations at which a landmark counts half (Cauchy's loss).
      contour: weight of contour landmarks relative to the others, which name a place on the skin.
      independent_frames: a landmark network errs alike in all frames of a person, so that what
        frames share is told by at most so many independent ones. Neighbouring landmarks err
        alike as well: less than one frame, as measured on synthetic people. Landmarks without
        such errors (a scan's, a synthetic head's own) tell more: 20.
      bounded: keep expression coefficients within [0, 1], as ARKit's are.
      identity_components, expression_components: the first so many are fitted; the later ones of
        a principal component analysis are finer than landmarks tell. Bounded ones are all fitted.
      neck_share: how much of the head's rotation from its mean the neck takes, the rest is the
        shoulders'; landmarks do not see it.
      fields_of_view: vertical angles in degrees that are tried first.
      fitted_frames: most frames that focal length and identity are fitted on.
      scout_frames: most frames that the first guess of the focal length looks at.
      block, overlap: frames that are fitted together once the shared part is known, and how many
        of them are fitted again with the next block.
      iterations: most steps of a solve.
      tolerance: relative decrease of the cost below which a solve ends.
    """

    deviations: Deviations = Deviations()
    steadiness: Steadiness = Steadiness()
    usual_distance: float = 0.9
    robust: float = 2.0
    contour: float = 0.3
    independent_frames: float = 0.35
    bounded: bool = False
    identity_components: int = 100
    expression_components: int = 50
    neck_share: float = 0.5
    fields_of_view: tuple[float, ...] = (8.0, 12.0, 18.0, 26.0, 36.0, 50.0, 66.0)
    fitted_frames: int = 400
    scout_frames: int = 24
    block: int = 128
    overlap: int = 16
    iterations: int = 30
    tolerance: float = 1e-5
