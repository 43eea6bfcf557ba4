"""Writes goldens of audio features: what librosa, Praat and transformers return.

Run where these libraries are installed (none of them is a dependency of the package or its tests):

    python -m experiments.make_audio_goldens front_end --out tests/goldens   # librosa,
    praat-parselmouth

The second one holds a frozen graph as TensorFlow writes it, so that the reader is tested, too.
A golden holds a JSON manifest, inputs `in/*` and outputs `out/*`; weights are not stored but follow
from their names (`tests/goldens_reader.py`).
"""

import argparse
import json
import pathlib
import sys

import numpy as np


def save(path, *, module, source, config, notes, inputs, outputs, keys=None):
    """Writes one golden."""
    manifest = {
        "system": "audio", "module": module, "source": source, "salt": "audio",
        "config": config, "notes": notes,
        "keys": {name: list(map(int, shape)) for name, shape in (keys or {}).items()},
    }  # fmt: skip
    arrays = {f"in/{name}": np.asarray(value) for name, value in inputs.items()}
    arrays |= {f"out/{name}": np.asarray(value) for name, value in outputs.items()}
    np.savez_compressed(path, manifest=np.array(json.dumps(manifest)), **arrays)
    print(f"{path}: {path.stat().st_size} bytes")


def voice(samples: int = 23680) -> np.ndarray:
    """Returns int16 samples at 16 kHz: gliding pulses, hiss, silence, a low and a high voice."""
    rng = np.random.default_rng(5)
    time = np.arange(samples) / 16000
    places, values = [0, 0.4, 0.45, 0.8, 0.85, 1.2, 1.48], [95, 170, 240, 210, 330, 520, 400]
    hertz = np.interp(time, places, values)
    pulse = np.diff(np.floor(np.cumsum(hertz) / 16000), prepend=0.0)
    at = np.arange(400)
    response = np.exp(-at / 60) * np.sin(2 * np.pi * 620 * at / 16000)
    response += 0.5 * np.exp(-at / 40) * np.sin(2 * np.pi * 1800 * at / 16000)
    sound = np.convolve(pulse, response)[:samples]
    sound *= ((time > 0.08) & ~((time > 0.4) & (time < 0.47)) & (time < 1.36)).astype(float)
    hiss = rng.normal(0, 0.2, samples) * ((time > 0.38) & (time < 0.46))
    whole = np.rint(9000 * (sound + hiss) + rng.normal(0, 3, samples))
    return whole.clip(-32768, 32767).astype(np.int16)


def front_end(out: pathlib.Path) -> None:
    """GeneFace's mel by librosa and pitch by Praat."""
    import librosa
    import parselmouth

    audio = voice()
    samples = audio.astype(np.float64) / 32768
    spectrum = np.abs(librosa.stft(samples, n_fft=512, hop_length=320, center=False))
    filters = librosa.filters.mel(sr=16000, n_fft=512, n_mels=80, fmin=80, fmax=7600)
    mel = np.log10(np.maximum(1e-6, filters @ spectrum)).T
    sound = parselmouth.Sound(samples, 16000).to_pitch_ac(
        time_step=0.02, voicing_threshold=0.6, pitch_floor=80, pitch_ceiling=750
    )
    found = sound.selected_array
    save(
        out / "audio_front_end.npz",
        module="log-mel and pitch",
        source=f"librosa {librosa.__version__}, Praat {parselmouth.PRAAT_VERSION}",
        config={"hop": 320, "size": 512, "bands": 80, "low": 80, "high": 7600, "voicing": 0.6},
        notes="mel [1 + (S - 512) // 320, 80] begins at sample 0; row 0 of the pitch lies between "
        "the samples first - 1 and first; Hz, 0 where unvoiced, and the autocorrelation there.",
        inputs={"audio": audio, "first": round(sound.t1 * 16000)},
        outputs={
            "mel": mel.astype(np.float32),
            "hertz": found["frequency"].astype(np.float32),
            "strength": found["strength"].astype(np.float32),
        },
    )


def deepspeech(out: pathlib.Path) -> None:
    """A small network of DeepSpeech 0.1.0's kind: its frozen graph, an input, its logits."""
    import tensorflow as tf

    v1 = tf.compat.v1
    v1.disable_eager_execution()
    sizes = {"inputs": 494, "hidden": [8, 6, 10, 7], "cell": 5, "outputs": 29, "clip": 20.0}
    one, two, three, five = sizes["hidden"]
    rng = np.random.default_rng(11)
    x = rng.normal(size=(1, 23, sizes["inputs"])).astype(np.float32)

    def weight(name, shape, gain=1.0):
        value = gain * rng.normal(size=shape) / (np.sqrt(shape[0]) if len(shape) > 1 else 4)
        return v1.get_variable(name, initializer=value.astype(np.float32))

    def clipped(value, number, inputs, width, gain=1.0):
        bias = weight(f"b{number}", (width,))
        product = tf.matmul(value, weight(f"h{number}", (inputs, width), gain)) + bias
        return tf.minimum(tf.nn.relu(product), sizes["clip"])

    node = v1.placeholder(tf.float32, [None, None, sizes["inputs"]], name="input_node")
    lengths = v1.placeholder(tf.int32, [None], name="input_lengths")
    batch = tf.shape(node)[0]
    value = tf.reshape(tf.transpose(node, [1, 0, 2]), [-1, sizes["inputs"]])
    # Large enough for the clipping to matter.
    value = clipped(clipped(value, 1, sizes["inputs"], one, 12.0), 2, one, two)
    value = tf.reshape(clipped(value, 3, two, three), [-1, batch, three])
    cells = [v1.nn.rnn_cell.BasicLSTMCell(sizes["cell"], forget_bias=1.0) for _ in range(2)]
    outputs, _ = v1.nn.bidirectional_dynamic_rnn(
        *cells, inputs=value, dtype=tf.float32, time_major=True, sequence_length=lengths
    )
    value = tf.reshape(tf.concat(outputs, 2), [-1, 2 * sizes["cell"]])
    value = clipped(value, 5, 2 * sizes["cell"], five)
    value = tf.matmul(value, weight("h6", (five, 29))) + weight("b6", (29,))
    tf.reshape(value, [-1, batch, 29], name="logits")
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        logits = session.run("logits:0", {node: x, lengths: [x.shape[1]]})
        frozen = v1.graph_util.convert_variables_to_constants(
            session, session.graph_def, ["logits"]
        )
    floats = tf.float32.as_datatype_enum
    constants = [n for n in frozen.node if n.op == "Const" and n.attr["dtype"].type == floats]
    shapes = {n.name: n.attr["value"].tensor.tensor_shape.dim for n in constants}
    names = {name: [side.size for side in sides] for name, sides in shapes.items()}
    save(
        out / "audio_deepspeech.npz",
        module="DeepSpeech 0.1.0",
        source=f"tensorflow {tf.__version__}, BasicLSTMCell in bidirectional_dynamic_rnn",
        config=sizes | {"constants": names},
        notes="graph: bytes of the frozen graph; x [1, T, 494] -> logits [T, 1, 29].",
        inputs={"graph": np.frombuffer(frozen.SerializeToString(), np.uint8), "x": x},
        outputs={"logits": logits},
    )


HUBERT = {
    "large": {
        "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True,
        "feat_proj_layer_norm": True,
    },
    "base": {
        "feat_extract_norm": "group", "conv_bias": False, "do_stable_layer_norm": False,
        "feat_proj_layer_norm": True,
    },
    "bare": {
        "feat_extract_norm": "group", "conv_bias": False, "do_stable_layer_norm": True,
        "feat_proj_layer_norm": False,
    },
}  # fmt: skip


def hubert(out: pathlib.Path) -> None:
    """Small HuBERTs of the large and the base kind, and of a mixture."""
    import torch
    import transformers

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from tests.goldens_reader import fill

    rng = np.random.default_rng(7)
    for kind, options in HUBERT.items():
        sizes = {
            "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
            "intermediate_size": 40, "conv_dim": [8, 12, 8, 8, 8, 8, 10],
            "num_conv_pos_embeddings": 10 if kind != "bare" else 7,
            "num_conv_pos_embedding_groups": 4, "layer_norm_eps": 1e-5,
        }  # fmt: skip
        config = transformers.HubertConfig(**sizes, **options)
        model = transformers.HubertModel(config).eval()
        state = model.state_dict()
        filled = {
            name: torch.from_numpy(_filled(fill, name, tuple(value.shape)))
            for name, value in state.items()
        }
        model.load_state_dict(filled)
        x = rng.normal(size=(2, 6000)).astype(np.float16)
        with torch.no_grad():
            convolved = model.feature_extractor(torch.from_numpy(x).float()).transpose(1, 2)
            hidden = model(torch.from_numpy(x).float()).last_hidden_state
        save(
            out / f"audio_hubert_{kind}.npz",
            module=f"HubertModel ({kind})",
            source=f"transformers {transformers.__version__}, torch {torch.__version__}",
            config=sizes | options,
            notes="x [B, S] -> convolved [B, T, C], hidden [B, T, D]. The position's factors are "
            "called as by PyTorch since 2.1.",
            inputs={"x": x},
            outputs={"convolved": convolved.numpy(), "hidden": hidden.numpy()},
            keys={name: value.shape for name, value in state.items()},
        )


def _filled(fill, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(fill(name, shape, "audio"), np.float32)


PARTS = {"front_end": front_end, "deepspeech": deepspeech, "hubert": hubert}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the goldens")
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments.out)


if __name__ == "__main__":
    main()
