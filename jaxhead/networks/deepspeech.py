"""Mozilla DeepSpeech 0.1.0: what is said, as 29 logits 50 times a second.

Hannun et al. 2014, "Deep Speech: Scaling up end-to-end speech recognition", with the LSTM that
Mozilla put in place of its recurrent layer: three layers whose ReLU is clipped at 20, a
bidirectional LSTM, another such layer and a linear one. The classes are space, a to z, the
apostrophe and the blank. Its published weights are a frozen graph, `output_graph.pb`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxhead.files.errors import InputError

_DENSE = ("layer_1", "layer_2", "layer_3", "layer_5", "layer_6")
_DIRECTIONS = {"forward": "bidirectional_rnn/fw", "backward": "bidirectional_rnn/bw"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSpeechConfig:
    """Sizes of the network.

    Attributes:
        inputs: 26 coefficients of 19 rows.
        hidden: widths of the layers 1, 2, 3 and 5.
        cell: width of the LSTM in each direction.
        outputs: number of classes.
        clip: largest value of a clipped ReLU.
    """

    inputs: int = 494
    hidden: tuple[int, int, int, int] = (2048, 2048, 4096, 2048)
    cell: int = 2048
    outputs: int = 29
    clip: float = 20.0


class LstmState(NamedTuple):
    """State of an LSTM: (N,) each, zero at the start."""

    cell: jax.Array | np.ndarray
    hidden: jax.Array | np.ndarray


class Lstm(nn.Module):
    """TensorFlow's BasicLSTMCell along time: gates in the order input, new, forget, output; 1 is
    added to the forget gate.

    Attributes:
        width: N.
        precision: of the products.
    """

    width: int
    precision: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, state: LstmState) -> tuple[jax.Array, LstmState]:
        """Returns (T, N) and the state behind the last row, for x (T, D)."""
        inputs, n = x.shape[-1], self.width
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs + n, 4 * n))
        bias = self.param("bias", nn.initializers.zeros, (4 * n,))
        product = lambda a, b: jnp.matmul(a, b, precision=self.precision)  # noqa: E731
        recurrent = kernel[inputs:]

        def step(state: LstmState, row: jax.Array) -> tuple[LstmState, jax.Array]:
            gates = row + product(state.hidden, recurrent)
            input_, new, forget, output = jnp.split(gates, 4)
            cell = jax.nn.sigmoid(forget + 1.0) * state.cell
            cell += jax.nn.sigmoid(input_) * jnp.tanh(new)
            hidden = jax.nn.sigmoid(output) * jnp.tanh(cell)
            return LstmState(cell, hidden), hidden

        state, hidden = jax.lax.scan(step, state, product(x, kernel[:inputs]) + bias)
        return hidden, state


class DeepSpeech(nn.Module):
    """The network. Its parts are methods so that a long sound can go through in blocks: `dense`,
    then `forward` from the start and `backward` from the end with the state handed on, then
    `classes`.

    Attributes:
        config: sizes.
        precision: of the products, `jax.lax.Precision` or its name.
    """

    config: DeepSpeechConfig = DeepSpeechConfig()
    precision: str | None = None

    def setup(self) -> None:
        """Makes the layers."""
        widths = (*self.config.hidden, self.config.outputs)
        for name, width in zip(_DENSE, widths):
            setattr(self, name, nn.Dense(width, precision=self.precision, name=name))
        self.fw = Lstm(self.config.cell, self.precision, name="forward")
        self.bw = Lstm(self.config.cell, self.precision, name="backward")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns (T, 29) logits for (T, 494) inputs (see `audio.mfcc.deepspeech_inputs`).

        Differentiable; several sounds of one length by `vmap`.
        """
        x = self.dense(x)
        ahead, _ = self.forward(x, self.start())
        behind, _ = self.backward(x, self.start())
        return self.classes(ahead, behind)

    def start(self) -> LstmState:
        """Returns the state before the first row."""
        zeros = jnp.zeros(self.config.cell)
        return LstmState(zeros, zeros)

    def dense(self, x: jax.Array) -> jax.Array:
        """Returns (T, hidden[2]) for (T, 494): layers 1 to 3, each row for itself."""
        for layer in (self.layer_1, self.layer_2, self.layer_3):
            x = self._clipped(layer(x))
        return x

    def forward(self, x: jax.Array, state: LstmState) -> tuple[jax.Array, LstmState]:
        """Returns (T, N) and the state behind the last row."""
        return self.fw(x, state)

    def backward(self, x: jax.Array, state: LstmState) -> tuple[jax.Array, LstmState]:
        """Returns (T, N) and the state before the first row; `state` is that behind the last."""
        hidden, state = self.bw(x[::-1], state)
        return hidden[::-1], state

    def classes(self, ahead: jax.Array, behind: jax.Array) -> jax.Array:
        """Returns (T, 29) logits from both directions, (T, N) each."""
        x = self._clipped(self.layer_5(jnp.concatenate([ahead, behind], -1)))
        return self.layer_6(x)

    def _clipped(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, 0.0, self.config.clip)


def deepspeech_names() -> dict[str, tuple[str, ...]]:
    """Returns {path in the parameters: names in a graph}, which changed with TensorFlow 1.2."""
    names = {}
    for layer in _DENSE:
        number = layer[-1]
        names[f"{layer}/kernel"] = (f"h{number}",)
        names[f"{layer}/bias"] = (f"b{number}",)
    for ours, theirs in _DIRECTIONS.items():
        cell = f"{theirs}/basic_lstm_cell"
        names[f"{ours}/kernel"] = (f"{cell}/kernel", f"{cell}/weights")
        names[f"{ours}/bias"] = (f"{cell}/bias", f"{cell}/biases")
    return names


def deepspeech_from(
    weights: Mapping[str, np.ndarray], *, source: str = "the graph"
) -> tuple[DeepSpeechConfig, dict[str, Any]]:
    """Returns sizes and variables from the weights of a frozen graph or a checkpoint.

    Args:
        weights: arrays by TensorFlow's names (`files.frozen_graph.read_frozen_graph`). Scalars,
            which graphs hold beside the weights, are passed over, other names refused.
        source: what messages call the weights: their file.

    Raises:
        InputError: a name is missing or unknown, or shapes do not belong together. Later releases
            of DeepSpeech (one direction, other names) are refused like this.
    """
    params: dict[str, Any] = {}
    used = set()
    for path, candidates in deepspeech_names().items():
        name = next((name for name in candidates if name in weights), None)
        if name is None:
            raise InputError(f"{source}: lacks {candidates[0]}, expected DeepSpeech 0.1.0")
        used.add(name)
        layer, leaf = path.split("/")
        params.setdefault(layer, {})[leaf] = np.asarray(weights[name], np.float32)
    for name, value in weights.items():
        if name not in used and np.ndim(value) and np.any(value):
            raise InputError(f"{source}: {name} is not a weight of DeepSpeech 0.1.0")
    config = DeepSpeechConfig(
        inputs=params["layer_1"]["kernel"].shape[0],
        hidden=tuple(params[name]["bias"].size for name in _DENSE[:4]),
        cell=params["forward"]["bias"].size // 4,
        outputs=params["layer_6"]["bias"].size,
    )
    for path, shape in _shapes(config).items():
        layer, leaf = path.split("/")
        if params[layer][leaf].shape != shape:
            raise InputError(
                f"{source}: {deepspeech_names()[path][0]} has shape {params[layer][leaf].shape}, "
                f"expected {shape}"
            )
    return config, {"params": params}


def _shapes(config: DeepSpeechConfig) -> dict[str, tuple[int, ...]]:
    """Shapes by path in the parameters."""
    inputs = jax.ShapeDtypeStruct((1, config.inputs), jnp.float32)
    tree = jax.eval_shape(DeepSpeech(config).init, jax.random.key(0), inputs)["params"]
    return {f"{a}/{b}": leaf.shape for a, part in tree.items() for b, leaf in part.items()}
