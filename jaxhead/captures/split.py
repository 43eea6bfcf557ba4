"""Head or torso: skin and hair against clothes, by the clip's own colours and by place.

Above the chin a person's pixels are head. Below it, beside the neck, training frames show clothes
(or long hair); the two colour histograms give a likelihood ratio per pixel, the place under the
chin gives a prior, and a guided filter makes both follow the edges of the picture.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter

from jaxhead.captures.masks import guided_filter

_BINS = 16
_PRIOR_SLOPE = 6.0
_PRIOR_ZERO = 0.36
_MOST_EVIDENCE = 5.0


@dataclasses.dataclass(frozen=True, eq=False)
class SplitModel:
    """Log-likelihood ratio of head against torso per colour bin, (16, 16, 16) float32."""

    evidence: np.ndarray


class SplitCollector:
    """Gathers the colours of sure head and likely torso over training frames."""

    def __init__(self) -> None:
        self._head = np.zeros((_BINS,) * 3)
        self._torso = np.zeros((_BINS,) * 3)

    def add(self, frame: np.ndarray, person: np.ndarray, marks: np.ndarray) -> None:
        """One training frame: (S, S, 3) uint8, (S, S) float person mask, (468, 2) landmarks."""
        below, aside = face_coordinates(marks, frame.shape[0])
        sure = person > 0.9
        # Collars and shoulders can rise beside the jaw, but not into the face or beside the eyes.
        reach = np.where(below < -0.3, 0.75, 0.28)
        head = sure & (below < -0.02) & (np.abs(aside) < reach)
        torso = sure & (below > 0.2) & (np.abs(aside) > 0.45)
        for histogram, chosen in ((self._head, head), (self._torso, torso)):
            np.add.at(histogram, tuple((frame[chosen] // (256 // _BINS)).T), 1.0)

    def model(self) -> SplitModel:
        """The fitted colours."""
        head, torso = self._head, self._torso
        if torso.sum() < 100 or head.sum() < 100:
            return SplitModel(np.zeros((_BINS,) * 3, np.float32))
        densities = []
        # A colour that neither showed (a shirt inside a jacket) is clothes rather than skin or
        # hair, which is why clothes get the share of a uniform distribution.
        for histogram, other in ((head, 0.05), (torso, 2.0)):
            smooth = gaussian_filter(histogram, 1.0, mode="constant")
            densities.append(smooth / smooth.sum() + other / _BINS**3)
        ratio = 1.5 * np.log(densities[0] / densities[1])
        return SplitModel(np.clip(ratio, -_MOST_EVIDENCE, _MOST_EVIDENCE).astype(np.float32))


def head_share(
    model: SplitModel, frame: np.ndarray, person: np.ndarray, marks: np.ndarray
) -> np.ndarray:
    """(S, S) float32 in [0, 1]: the share of head in the person's pixels.

    Args:
      model: from `SplitCollector.model`.
      frame: (S, S, 3) uint8; person: (S, S) float32 mask.
      marks: (468, 2) face landmarks in pixels of this picture.
    """
    size = frame.shape[0]
    below, aside = face_coordinates(marks, size)
    bins = tuple(np.moveaxis(frame // (256 // _BINS), -1, 0))
    evidence = gaussian_filter(model.evidence[bins], size / 200)
    prior = _PRIOR_SLOPE * (_PRIOR_ZERO - below)
    # What lies outside the neck's column gets there only as hair that hangs down.
    prior = prior - 3.0 * np.clip(np.abs(aside) - 0.5, 0, 1) * (below > -0.1)
    # In the face colour has nothing to say, nor beside it, but for collars and shoulders.
    trust = np.clip((below + 0.03) / 0.06, 0.0, 1.0)
    beside = np.clip((np.abs(aside) - 0.3) / 0.1, 0, 1) * np.clip((below + 0.3) / 0.1, 0, 1)
    trust = np.maximum(trust, beside)
    logit = np.clip(prior, -6, 6) + trust * evidence + (1 - trust) * 4.0
    share = 1 / (1 + np.exp(-logit))
    guide = frame.astype(np.float32) / 255
    share = guided_filter(guide, share.astype(np.float32), max(2, round(size / 40)), 1e-3)
    return np.clip((share - 0.1) / 0.8, 0, 1).astype(np.float32)


def face_coordinates(marks: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's place in the face's own axes, in face lengths (forehead to chin).

    Returns:
      below (S, S): along the face's axis, 0 at the chin, 1 a face length under it.
      aside (S, S): across it from the chin, positive towards the right of the picture.
    """
    top, chin = marks[10], marks[152]
    length = max(float(np.linalg.norm(chin - top)), 1e-6)
    down = (chin - top) / length
    axis = np.arange(size) + 0.5
    x, y = axis[None, :] - chin[0], axis[:, None] - chin[1]
    below = (x * down[0] + y * down[1]) / length
    aside = (x * down[1] - y * down[0]) / length
    return below.astype(np.float32), aside.astype(np.float32)
