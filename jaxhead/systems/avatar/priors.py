"""What a run's priors need beside its capture: weights found, checked, or said to be missing."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from jaxhead.captures.format import Capture
from jaxhead.files.arrays import digest
from jaxhead.files.errors import InputError
from jaxhead.files.weights import find_weights
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.depth_maps import DepthMaps
from jaxhead.systems.avatar.semantic import ASSET, WEIGHT, ClipPrior, load_clip
from jaxhead.training.configuration import from_document
from jaxhead.training.runs import Run, is_run, load_run


@dataclasses.dataclass(frozen=True, eq=False)
class Priors:
    """The priors of a run.

    Attributes:
      config: the run's, in which `loss.semantic` is a number.
      clip: CLIP's image encoder where the run trains with it or is made with its codes.
      sources: the weights, as a run records them.
      assets: folder of weights and depth maps.
    """

    config: AvatarConfig
    clip: ClipPrior | None = None
    sources: tuple[dict[str, Any], ...] = ()
    assets: pathlib.Path | None = None

    def depths(self, capture: Capture) -> DepthMaps | None:
        """The reference depths of a capture where a term wants them.

        Raises:
          InputError: what they are made from is missing.
        """
        if self.config.loss.depth_ordinal <= 0 and self.config.loss.depth <= 0:
            return None
        return DepthMaps(capture, self.config, self.assets)

    def check(self, run: Run) -> None:
        """InputError where the run was trained with other weights than those that were found."""
        for source in self.sources:
            known = [s for s in run.sources if s.get("weights") == source["weights"]]
            if known and known[0]["digest"] != source["digest"]:
                raise InputError(
                    f"{source['path']}: checksum {source['digest'][:12]}, the run {run.path} was "
                    f"made with {known[0]['digest'][:12]} of {source['weights']}"
                )


def open_priors(
    config: AvatarConfig, out: pathlib.Path, assets: pathlib.Path | None,
    say: Callable[[str], None],
) -> Priors:
    """The priors that a configuration asks for.

    `loss.semantic=none` is what the run has; for a new run `WEIGHT` where CLIP's weights are found,
    else 0, which is said in a line.

    Args:
      config: what is asked for; out: the run, which may not exist yet.
      assets: folder of weights.
      say: gets that line.

    Raises:
      InputError: weights that are asked for are missing or not what they should be.
    """
    weight = config.loss.semantic
    if weight is None and is_run(out):
        weight = from_document(AvatarConfig, load_run(out).config).loss.semantic
        if weight is None:
            # Made before there was such a term.
            return Priors(config, assets=assets)
    path = None
    if weight is None:
        try:
            path, weight = find_weights(ASSET, assets), WEIGHT
            say(f"trains with the semantic term: {path} (loss.semantic={weight})")
        except InputError as error:
            if config.field.semantic_dims > 0 or (assets is not None and not assets.is_dir()):
                raise
            weight = 0.0
            say(f"trains without the semantic term: {str(error).split(':')[0]}")
    elif weight > 0 or (config.field.semantic_dims > 0 and not is_run(out)):
        path = find_weights(ASSET, assets)
    config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, semantic=weight))
    if path is None:
        return Priors(config, assets=assets)
    source = {"weights": ASSET, "path": str(path.absolute()), "digest": digest(path)}
    return Priors(config, load_clip(path), (source,), assets)
