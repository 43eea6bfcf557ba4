"""How a clip is to be fitted, as plain values: what flags say and what its capture tells."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from jaxhead.captures.validate import file_digest
from jaxhead.files.errors import InputError
from jaxhead.files.weights import find_weights

STARTS = ("landmarks", "deca")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitRequest:
    """A statistical head that is fitted.

    Attributes:
      head: KIND:PATH as in `heads.loading.read_head`.
      photometric: also to the pixels.
      start: "landmarks", the mean head placed by them, or "deca", DECA's codes of the frames.
    """

    head: str
    photometric: bool = False
    start: str = "landmarks"

    def described(self) -> dict[str, Any]:
        """What a capture that was fitted so holds as `fitting` in its capture.json.

        Raises:
          InputError: the head's file cannot be read.
        """
        kind, _, path = self.head.partition(":")
        try:
            digest = file_digest(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        return {
            "head": kind, "sha256": digest, "photometric": self.photometric, "start": self.start
        }  # fmt: skip


def check_request(request: FitRequest, assets: str | os.PathLike | None = None) -> None:
    """Refuses what `record_options` would, the network's weights left unread.

    Raises:
      InputError: see `record_options`.
    """
    _fittable(request, assets)


def record_options(
    request: FitRequest | None, assets: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Returns the arguments of `captures.record.record` that a request asks for, its files read.

    Args:
      request: None for MediaPipe's landmarks as the mesh.
      assets: folder of third-party models that is searched first.

    Raises:
      InputError: a head that cannot be fitted, one that is not FLAME where DECA starts it, no or
        another checkpoint of DECA.
    """
    if request is None:
        return {}
    fittable, options = _fittable(request, assets), {}
    if request.start == "deca":
        from jaxhead.captures.fitting.regressed import read_regressor

        options["regressor"] = read_regressor(assets)
    return {
        "fittable": fittable, "photometric": request.photometric, "fitting": request.described(),
        **options,
    }  # fmt: skip


def _fittable(request: FitRequest, assets: str | os.PathLike | None) -> Any:
    from jaxhead.captures.fitting.regressed import ASSET, require_flame
    from jaxhead.captures.fitting.sources import read_fittable

    if request.start not in STARTS:
        raise InputError(f"start {request.start!r}: expected one of {', '.join(STARTS)}")
    fittable = read_fittable(request.head)
    if request.start == "deca":
        try:
            require_flame(fittable)
        except InputError as error:
            raise InputError(f"{request.head}: {error}") from None
        find_weights(ASSET, assets)
    return fittable
