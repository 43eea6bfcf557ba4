"""How many rays or samples go through a program together."""

from __future__ import annotations

import jax


def suited(*, cpu: int, accelerator: int) -> int:
    """The one that suits the default backend, at the time of tracing.

    What goes through together should fit a processor's caches, but has to fill the thousands of
    units of an accelerator, which waits for every launch in between. Results do not depend on it
    beyond the order of sums.
    """
    return cpu if jax.default_backend() == "cpu" else accelerator
