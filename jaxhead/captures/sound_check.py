"""Findings on the sound of a clip: level, silence, clipping, length."""

from __future__ import annotations

import numpy as np

_BLOCK_SECONDS = 0.04
_SILENCE_DB = -45.0


def sound_findings(
    samples: np.ndarray | None, seconds: float, rate: int
) -> list[tuple[str, float | None, str, str, str]]:
    """(name, value, text, level, advice) per finding.

    Args:
      samples: float32 mono in [-1, 1], or None without a sound track.
      seconds: length of the pictures.
      rate: samples per second.
    """
    if samples is None or not len(samples):
        advice = "record with sound where speech shall drive the avatar"
        return [("sound", None, "none", "fair", advice)]
    block = round(_BLOCK_SECONDS * rate)
    count = max(1, len(samples) // block)
    padded = np.pad(samples, (0, max(0, block - len(samples))))[: count * block]
    levels = 10 * np.log10((padded.reshape(count, block).astype(np.float64) ** 2).mean(1) + 1e-10)
    loud = levels[levels > _SILENCE_DB]
    level = float(np.percentile(loud, 75)) if len(loud) else float(levels.max())
    silent = float((levels <= _SILENCE_DB).mean())
    clipped = float((np.abs(samples) > 0.999).mean())
    sound = len(samples) / rate
    quiet = level < -35
    longer = abs(sound - seconds) > 0.08
    return [
        (
            "sound level",
            level,
            f"{level:.0f} dB of full scale"
            + (f", {100 * clipped:.2f} % clipped" if clipped else ""),
            "fair" if quiet or clipped > 1e-3 else "good",
            "speak nearer to the microphone"
            if quiet
            else "lower the recording level"
            if clipped > 1e-3
            else "",
        ),
        (
            "silence",
            silent,
            f"{100 * silent:.0f} % of the time",
            "fair" if silent > 0.6 else "good",
            "little speech to learn from" if silent > 0.6 else "",
        ),
        (
            "sound length",
            sound,
            f"{sound:.2f} s for {seconds:.2f} s of pictures",
            "fair" if longer else "good",
            "what is longer is cut, what is shorter is followed by silence" if longer else "",
        ),
    ]
