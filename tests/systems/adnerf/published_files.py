"""Checkpoint files as the released code writes them, with numbers in place of weights."""

from __future__ import annotations

import collections
import io
import pickle
import struct

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class _Name:
    def __init__(self, name):
        self.name = name


class _Call:
    def __init__(self, name, *args):
        self.name, self.args = name, args


class _Storage:
    def __init__(self, count):
        self.id = ("storage", _Name("torch.FloatStorage"), "0", "cuda:0", count, None)


class _Pickler(pickle._Pickler):
    """Writes names that do not exist here, calls of them, and persistent ids."""

    def persistent_id(self, obj):
        return obj.id if isinstance(obj, _Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Name):
            module, _, name = obj.name.rpartition(".")
            self.write(f"c{module}\n{name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(_Name(obj.name))
            self.save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def _packed(value) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(value)
    return stream.getvalue()


def write_stream(path, value):
    """What torch.save wrote before 1.6, all float arrays of `value` being parts of one storage."""
    arrays = []

    def replaced(item):
        if isinstance(item, np.ndarray):
            offset = sum(array.size for array in arrays)
            arrays.append(np.ascontiguousarray(item, np.float32))
            strides = tuple(step // 4 for step in arrays[-1].strides)
            return lambda storage: _Call(
                "torch._utils._rebuild_tensor_v2", storage, offset, item.shape, strides, False,
                collections.OrderedDict(),
            )
        if isinstance(item, dict):
            return {key: replaced(value) for key, value in item.items()}
        return [replaced(value) for value in item] if isinstance(item, list) else item

    def finished(item, storage):
        if isinstance(item, dict):
            return {key: finished(value, storage) for key, value in item.items()}
        if isinstance(item, list):
            return [finished(value, storage) for value in item]
        return item(storage) if callable(item) else item

    prepared = replaced(value)
    count = sum(array.size for array in arrays)
    content = finished(prepared, _Storage(count))
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    data = b"".join(array.tobytes() for array in arrays)
    parts = (MAGIC, 1001, system, content, ["0"])
    path.write_bytes(b"".join(map(_packed, parts)) + struct.pack("<q", count) + data)
    return path


def network_shapes(kind: str, *, width=256, depth=8, code=64, points=63, views=27, features=29):
    """{name: shape} of a network in the order of its parameters."""
    if kind == "field":
        given, half = points + code, width // 2
        layers = [(f"pts_linears.{i}", (width, given if i == 0 else width + given if i == 5
                                        else width)) for i in range(depth)]  # fmt: skip
        layers += [(f"views_linears.{i}", (half, width + views if i == 0 else half))
                   for i in range(depth // 4 + 1)]  # fmt: skip
        layers += [("feature_linear", (width, width)), ("alpha_linear", (1, width)),
                   ("rgb_linear", (3, half))]  # fmt: skip
    elif kind == "audio":
        channels = (features, 32, 32, 64, 64)
        layers = [(f"encoder_conv.{2 * i}", (channels[i + 1], channels[i], 3)) for i in range(4)]
        layers += [("encoder_fc1.0", (64, 64)), ("encoder_fc1.2", (code, 64))]
    else:
        channels = (32, 16, 8, 4, 2, 1)
        layers = [(f"attentionConvNet.{2 * i}", (channels[i + 1], channels[i], 3))
                  for i in range(5)]  # fmt: skip
        layers += [("attentionNet.0", (8, 8))]
    shapes = {}
    for name, shape in layers:
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def state_dict(shapes, random, scale=0.05):
    """Numbers in these shapes."""
    return {name: np.float32(scale * random.normal(size=shape)) for name, shape in shapes.items()}


def optimizer(states, random, step, rate=5e-4):
    """The state of one Adam over networks; what the forward pass does not use has no moments."""
    moments, number = {}, 0
    for state in states:
        for name, value in state.items():
            if not name.startswith("feature_linear"):
                moments[number] = {
                    "step": step,
                    "exp_avg": np.float32(1e-3 * random.normal(size=value.shape)),
                    "exp_avg_sq": np.float32(1e-6 * random.random(size=value.shape)),
                }
            number += 1
    group = {"lr": rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
    return {"state": moments, "param_groups": [group | {"params": list(range(number))}]}


def head_file(global_step, seed=0, **sizes):
    """The content of `NNNNNN_head.tar`."""
    random = np.random.default_rng(seed)
    fields = [state_dict(network_shapes("field", **sizes), random) for _ in range(2)]
    kinds = ("audio", "attention")
    audio, attention = (state_dict(network_shapes(k, **sizes), random) for k in kinds)
    return {
        "global_step": global_step,
        "network_fn_state_dict": fields[0],
        "network_fine_state_dict": fields[1],
        "network_audnet_state_dict": audio,
        "network_audattnet_state_dict": attention,
        "optimizer_state_dict": optimizer(fields, random, global_step + 1),
        "optimizer_aud_state_dict": optimizer([audio], random, global_step + 1),
        "optimizer_audatt_state_dict": optimizer(
            [attention], random, max(global_step + 1 - 200_000, 0)
        ),
    }


def body_file(global_step, seed=1, code=64, **sizes):
    """The content of `NNNNNN_body.tar`."""
    random = np.random.default_rng(seed)
    wide = sizes | {"code": code + 42}
    fields = [state_dict(network_shapes("field", **wide), random) for _ in range(2)]
    audio = state_dict(network_shapes("audio", **sizes, code=code), random)
    return {
        "global_step": global_step,
        "network_fn_state_dict": fields[0],
        "network_fine_state_dict": fields[1],
        "network_audnet_state_dict": audio,
        "optimizer_state_dict": optimizer(fields, random, global_step + 1),
        "optimizer_aud_state_dict": optimizer([audio], random, 0),
    }
