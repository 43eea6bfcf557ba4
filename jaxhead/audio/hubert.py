"""HuBERT's hidden units of a sound of any length, in blocks as GeneFace and ER-NeRF make them.

The sound is normalised as a whole (one mean, one variance). Blocks of 1000 rows (20 s) then go
through the network for themselves: the samples of a block overlap those of the next by 80, since a
row sees 400 samples and rows are 320 apart, so that no row is missing, but attention ends at the
block. A sound of at most 1000 rows is therefore the whole-file result. For longer ones `context`
rows on both sides of each block go through with it and are dropped; 0 is what the published systems
were trained with.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxhead.audio.streams import Extractor, FeatureStream
from jaxhead.audio.waveforms import piece
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.files.weights import find_weights, read_weights
from jaxhead.networks.hubert import HOP, SIZE, STRIDES, Hubert, HubertConfig
from jaxhead.networks.hubert_names import hubert_from

BLOCK = 1000
# Lengths are rounded up to these, so that few programs are compiled; a mask hides what was added.
_ROUNDING = 250
_PART = 1 << 20


class Level(NamedTuple):
    """Mean and deviation of a whole sound."""

    mean: float
    deviation: float


def hubert_extractor(assets: Any = None, *, block: int = BLOCK, context: int = 0) -> Extractor:
    """Returns the extractor of HuBERT's last hidden state, (S - 80) // 320 rows at 50 per second.

    Options that the weights do not tell are read from `config.json` beside them, if there is one.

    Args:
        assets: the weights, or a folder that holds them (see `files.weights`).
        block, context: see `hidden_blocks`.

    Raises:
        InputError: the weights are missing or not those of a HuBERT.
    """
    path = find_weights("hubert", assets)
    config, variables = hubert_from(read_weights(path), **_options(path), source=str(path))
    variables = jax.device_put(variables)

    def stream(samples: np.ndarray | RowFile) -> FeatureStream:
        blocks = hidden_blocks(samples, config, variables, block=block, context=context)
        return FeatureStream(row_count(len(samples)), blocks)

    return Extractor(16000 / HOP, np.zeros(config.width, np.float32), stream)


def row_count(samples: int) -> int:
    """Returns the rows of so many samples, 0 below 400."""
    return max(0, (samples - SIZE) // HOP + 1)


def level(samples: np.ndarray | RowFile) -> Level:
    """Returns mean and deviation of the whole sound, read in parts; the variance has 1e-7 added."""
    parts = [slice(i, i + _PART) for i in range(0, len(samples), _PART)]
    mean = sum(float(np.sum(samples[p], dtype=np.float64)) for p in parts) / max(1, len(samples))
    square = sum(float(np.sum(np.square(samples[p].astype(np.float64) - mean))) for p in parts)
    return Level(mean, math.sqrt(square / max(1, len(samples)) + 1e-7))


def hidden_blocks(
    samples: np.ndarray | RowFile,
    config: HubertConfig,
    variables: Any,
    *,
    block: int = BLOCK,
    context: int = 0,
    precision: str | None = None,
) -> Iterator[np.ndarray]:
    """Yields (n, width) float32 rows in order; none for a sound below 400 samples.

    Args:
        samples: (S,) float32 at 16 kHz, of any level.
        config, variables: see `networks.hubert_names.hubert_from`.
        block: rows at a time.
        context: rows on each side that are computed with a block and dropped.
        precision: of the network's products.
    """
    if config.strides != STRIDES or _reach(config) != SIZE:
        raise InputError(f"HuBERT with strides {config.strides} and kernels {config.kernels}")
    count, found = row_count(len(samples)), level(samples)
    run = _program(config, precision)
    for first in range(0, count, block):
        low = max(0, first - context)
        high = min(count, first + block + context)
        rows = -(-(high - low) // _ROUNDING) * _ROUNDING
        there = HOP * (high - low - 1) + SIZE
        values = np.zeros(HOP * (rows - 1) + SIZE, np.float32)
        part = piece(samples, HOP * low, HOP * low + there)
        values[:there] = (part - found.mean) / found.deviation
        hidden = np.asarray(run(variables, values, np.int32(there)))
        yield hidden[first - low : min(count, first + block) - low]


@functools.lru_cache(maxsize=4)
def _program(config: HubertConfig, precision: str | None) -> Callable[..., jax.Array]:
    """One for all sounds, so that it is compiled once for each length."""
    return jax.jit(Hubert(config, precision=precision).apply)


def _reach(config: HubertConfig) -> int:
    """Samples that a row of the convolutions sees."""
    size, hop = 1, 1
    for kernel, stride in zip(config.kernels, config.strides):
        size, hop = size + (kernel - 1) * hop, hop * stride
    return size


def _options(weights: Path) -> dict[str, Any]:
    """What the file `config.json` of Hugging Face's folders says and the weights do not."""
    path = weights.parent / "config.json"
    if not path.is_file():
        return {}
    try:
        if os.path.getsize(path) > 1 << 20:
            raise ValueError("larger than 1 MiB")
        stored = json.loads(path.read_text("utf-8"))
        if stored.get("model_type") != "hubert":
            return {}
        return {
            "heads": int(stored["num_attention_heads"]),
            "pre_norm": bool(stored["do_stable_layer_norm"]),
            "strides": tuple(int(n) for n in stored["conv_stride"]),
            "epsilon": float(stored["layer_norm_eps"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{path}: not HuBERT's configuration ({str(error)[:100]})") from error
