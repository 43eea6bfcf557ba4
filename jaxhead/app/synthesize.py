"""`jaxhead synthesize`: a capture of a procedural head, for which everything is known."""

from __future__ import annotations

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.outputs import refuse_existing
from jaxhead.app.progress import Counter


def run(arguments: Arguments) -> int:
    """Synthesizes as the flags say; returns the exit code."""
    flags = arguments.flags
    if not flags.out:
        raise UsageError("--out is missing")
    refuse_existing(flags.out)
    prepare_jax()
    synthesize_with_progress(
        flags.out, frames=flags.frames, size=flags.size, seed=flags.seed, speech=flags.speech
    )
    print(f"{flags.out}: a capture of {flags.frames} frames of {flags.size} x {flags.size}")
    return 0


def synthesize_with_progress(
    out: str, *, frames: int, size: int, seed: int, speech: str = "syllables"
) -> None:
    """Writes the synthetic capture and counts its frames aloud.

    Args:
        out: the capture folder to make.
        frames: how many, 25 a second.
        size: side of the square pictures in pixels.
        seed: of everything random.
        speech: "syllables", "phonemes" or "espeak".
    """
    from jaxhead.captures.synthetic import synthesize

    with Counter("synthesize", frames) as counter:
        synthesize(out, frames=frames, size=size, seed=seed, speech=speech, progress=counter.reach)
