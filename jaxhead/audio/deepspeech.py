"""DeepSpeech's logits of a sound of any length, in blocks, with the very result of the whole.

The network reads the sound in both directions. Its state is handed on from block to block: first
from the last block to the first, keeping that direction's (T, 2048) values in a file without a
name, then from the first to the last. Held in memory are blocks and the (T, 26) coefficients, whose
one mean and deviation are needed first.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxhead.audio.mfcc import (
    BANDS,
    CONTEXT,
    EMPHASIS,
    SIZE,
    STEP,
    Scale,
    coefficients,
    context_scale,
    row_count,
)
from jaxhead.audio.streams import Extractor, FeatureStream
from jaxhead.audio.waveforms import piece
from jaxhead.files.frozen_graph import read_frozen_graph
from jaxhead.files.rows import RowFile
from jaxhead.files.weights import find_weights
from jaxhead.networks.deepspeech import DeepSpeech, DeepSpeechConfig, LstmState, deepspeech_from

HOP = 2 * STEP
_BLOCK = 512


def deepspeech_extractor(assets: Any = None, *, halved: bool = False) -> Extractor:
    """Returns the extractor of DeepSpeech's logits.

    Args:
        assets: the weights, or a folder that holds them (see `files.weights`).
        halved: DINet's rows, every second one at 25 per second, instead of AD-NeRF's: as many as
            fit at 50 per second, without the last.

    Raises:
        InputError: the weights are missing or not those of DeepSpeech 0.1.0.
    """
    path = find_weights("deepspeech", assets)
    config, variables = deepspeech_from(read_frozen_graph(path), source=str(path))
    variables = jax.device_put(variables)
    rule = dinet_rows if halved else adnerf_rows

    def stream(samples: np.ndarray | RowFile) -> FeatureStream:
        return rule(len(samples), logit_blocks(samples, config, variables))

    rate = 25.0 if halved else 50.0
    return Extractor(rate, np.zeros(config.outputs, np.float32), stream)


def adnerf_rows(samples: int, blocks: Iterator[np.ndarray]) -> FeatureStream:
    """Returns rows at 50 per second: round(seconds x 50) less one; the last logits stand for more.

    Logits stand at the times k / 50, too, so that the original's linear interpolation changes
    nothing but the number of rows, and its windows of one row lose the last.

    Args:
        samples: number of samples at 16 kHz.
        blocks: logits in order.
    """
    count = max(0, round(samples / 16000 * 50) - 1)

    def rows() -> Iterator[np.ndarray]:
        done, last = 0, None
        for block in blocks:
            if done >= count:
                return
            yield block[: count - done]
            done, last = done + len(block), block[-1:]
        if last is not None and done < count:
            yield np.repeat(last, count - done, 0)

    return FeatureStream(count, rows())


def dinet_rows(samples: int, blocks: Iterator[np.ndarray]) -> FeatureStream:
    """Returns every second row of the logits, 25 per second; arguments as for `adnerf_rows`."""
    logits = -(-row_count(samples) // 2) if samples else 0

    def rows() -> Iterator[np.ndarray]:
        done = 0
        for block in blocks:
            yield block[done % 2 :: 2]
            done += len(block)

    return FeatureStream(-(-logits // 2), rows())


def logit_blocks(
    samples: np.ndarray | RowFile,
    config: DeepSpeechConfig,
    variables: Any,
    *,
    block: int = _BLOCK,
    precision: str | None = None,
) -> Iterator[np.ndarray]:
    """Yields (n, 29) float32 logits in order, 50 rows per second; none for a sound without samples.

    Args:
        samples: (S,) float32 in [-1, 1] at 16 kHz. Values are cut to 16 bits as the original does.
        config, variables: see `networks.deepspeech.deepspeech_from`.
        block: rows at a time.
        precision: of the network's products.
    """
    if not len(samples):
        return
    behind, ahead = _programs(config, precision)
    inputs = _Inputs(samples, block)
    start = LstmState(*(np.zeros(config.cell, np.float32),) * 2)
    count, state = inputs.count, start
    kept = RowFile(None, (config.cell,))
    try:
        for stop in range(count, 0, -block):
            hidden, state = behind(variables, inputs.rows(stop - block), state)
            # The last row first; what lies before the sound comes last and is dropped.
            kept.append(np.asarray(hidden)[::-1][: min(block, stop)])
        state = start
        for first in range(0, count, block):
            stop = min(count, first + block)
            other = np.zeros((block, config.cell), np.float32)
            other[: stop - first] = kept[count - stop : count - first][::-1]
            logits, state = ahead(variables, inputs.rows(first), state, other)
            yield np.asarray(logits)[: stop - first]
    finally:
        kept.close()


@functools.lru_cache(maxsize=4)
def _programs(config: DeepSpeechConfig, precision: str | None) -> tuple[Callable, Callable]:
    """The way back and the way ahead, compiled once for all sounds."""
    module = DeepSpeech(config, precision)

    def behind(variables: Any, x: jax.Array, state: LstmState):
        run = lambda self: self.backward(self.dense(x), state)  # noqa: E731
        return module.apply(variables, method=run)

    def ahead(variables: Any, x: jax.Array, state: LstmState, other: jax.Array):
        def run(self: DeepSpeech):
            hidden, after = self.forward(self.dense(x), state)
            return self.classes(hidden, other), after

        return module.apply(variables, method=run)

    return jax.jit(behind), jax.jit(ahead)


class _Inputs:
    """The network's input, made row by row from the coefficients of the whole sound."""

    def __init__(self, samples: np.ndarray | RowFile, block: int):
        self.count = -(-row_count(len(samples)) // 2)
        self._block = block
        # Fetched one by one: dispatched at once, all blocks would be in memory at once.
        parts = [
            np.asarray(_coefficients(_emphasised(samples, at, block), block))
            for at in range(0, self.count, block)
        ]
        self._values = np.concatenate(parts)[: self.count]
        scale = jax.device_get(context_scale(self._values))
        self._scale = Scale(np.float32(scale.mean), np.float32(scale.deviation))

    def rows(self, first: int) -> np.ndarray:
        """(block, 494) for the rows from `first` on, which may lie outside the sound."""
        span = np.zeros((self._block + 2 * CONTEXT, BANDS), np.float32)
        low, high = max(0, first - CONTEXT), min(self.count, first + self._block + CONTEXT)
        span[low - first + CONTEXT : high - first + CONTEXT] = self._values[low:high]
        windows = np.lib.stride_tricks.sliding_window_view(span, 2 * CONTEXT + 1, 0)
        flat = windows.transpose(0, 2, 1).reshape(self._block, -1)
        return (flat - self._scale.mean) / self._scale.deviation


def _emphasised(samples: np.ndarray | RowFile, row: int, block: int) -> np.ndarray:
    """16-bit values after pre-emphasis of a block of rows; zero behind the last sample."""
    first, stop = row * HOP, (row + block - 1) * HOP + SIZE
    values = np.trunc(np.clip(piece(samples, first - 1, stop) * 32768.0, -32768, 32767))
    result = values[1:] - np.float32(EMPHASIS) * values[:-1]
    result[max(0, len(samples) - first) :] = 0
    return result


_coefficients = jax.jit(
    lambda values, rows: coefficients(values, every=2, rows=rows), static_argnums=1
)
