"""Published names of Depth Anything V2: the original's, and Hugging Face's turned into them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.networks.state_dicts import Names, layer_names, norm_names, size_of
from jaxhead.networks.transformer import block_names

HEAD_WIDTH = 64
_TAPS = {24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}


def names(layers: int) -> Names:
    """Returns the name map of a network with so many blocks; their q, k, v apart."""
    found: Names = {
        "pretrained.cls_token": "params/encoder/class_token",
        "pretrained.pos_embed": "params/encoder/positions",
    }
    found |= layer_names("pretrained.patch_embed.proj", "encoder/patches")
    found |= norm_names("pretrained.norm", "encoder/norm")
    for number in range(layers):
        block = f"pretrained.blocks.{number}"
        found |= block_names(
            f"encoder/block_{number}", query=f"{block}.attn.q", key=f"{block}.attn.k",
            value=f"{block}.attn.v", out=f"{block}.attn.proj",
            norms=(f"{block}.norm1", f"{block}.norm2"), up=f"{block}.mlp.fc1",
            down=f"{block}.mlp.fc2", scales=(f"{block}.ls1.gamma", f"{block}.ls2.gamma"),
        )  # fmt: skip
    return found | _head_names()


def _head_names() -> Names:
    head, scratch = "depth_head", "depth_head.scratch"
    found: Names = {}
    for number in range(4):
        found |= layer_names(f"{head}.projects.{number}", f"head/project_{number}")
        found |= layer_names(f"{scratch}.layer{number + 1}_rn", f"head/level_{number}", bias=False)
        fusion, ours = f"{scratch}.refinenet{number + 1}", f"head/fuse_{number}"
        found |= layer_names(f"{fusion}.out_conv", f"{ours}_out")
        # The deepest level has nothing to skip.
        units = {2: "joined"} if number == 3 else {1: "skipped", 2: "joined"}
        for unit, part in units.items():
            for layer, which in ((1, "first"), (2, "second")):
                theirs = f"{fusion}.resConfUnit{unit}.conv{layer}"
                found |= layer_names(theirs, f"{ours}_{part}_{which}")
    for number in (0, 1):
        theirs, ours = f"{head}.resize_layers.{number}", f"params/head/resize_{number}"
        found |= {f"{theirs}.weight": f"{ours}/kernel_of_inputs", f"{theirs}.bias": f"{ours}/bias"}
    found |= layer_names(f"{head}.resize_layers.3", "head/resize_3")
    for number, theirs in enumerate(("output_conv1", "output_conv2.0", "output_conv2.2")):
        found |= layer_names(f"{scratch}.{theirs}", f"head/out_{number}")
    return found


def sizes(state: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns the arguments of a `DepthAnythingConfig` that a state dict's shapes tell.

    Raises:
        InputError: a name that tells them is missing, or they do not go together.
    """
    width, _, patch, _ = size_of(state, "pretrained.patch_embed.proj.weight", 4, source)
    _, tokens, _ = size_of(state, "pretrained.pos_embed", 3, source)
    if "pretrained.blocks.0.mlp.w12.weight" in state:
        raise InputError(f"{source}: the giant's gated perceptrons, expected Small, Base or Large")
    hidden, _ = size_of(state, "pretrained.blocks.0.mlp.fc1.weight", 2, source)
    layers = len({k.split(".")[2] for k in state if k.startswith("pretrained.blocks.")})
    grid = round((tokens - 1) ** 0.5)
    if grid**2 != tokens - 1 or width % HEAD_WIDTH or layers < 4:
        raise InputError(
            f"{source}: {tokens} positions, width {width}, {layers} blocks; expected one more than "
            f"a square, a multiple of {HEAD_WIDTH}, at least 4"
        )
    quarter = layers // 4
    return {
        "width": width, "heads": width // HEAD_WIDTH, "hidden": hidden, "layers": layers,
        "taps": _TAPS.get(layers, tuple(quarter * n - 1 for n in (1, 2, 3)) + (layers - 1,)),
        "patch": patch, "grid": grid,
        "channels": tuple(
            size_of(state, f"depth_head.projects.{n}.weight", 4, source)[0] for n in range(4)
        ),
        "features": size_of(state, "depth_head.scratch.layer1_rn.weight", 4, source)[0],
        "last": size_of(state, "depth_head.scratch.output_conv2.0.weight", 4, source)[0],
    }  # fmt: skip


_HUGGING_FACE = (
    (r"backbone\.embeddings\.cls_token", "pretrained.cls_token"),
    (r"backbone\.embeddings\.mask_token", "pretrained.mask_token"),
    (r"backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
    (r"backbone\.embeddings\.patch_embeddings\.projection", "pretrained.patch_embed.proj"),
    (r"backbone\.layernorm", "pretrained.norm"),
    # The published files' names, and those that newer versions of the library give.
    (r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.([qkv])(uery|ey|alue)",
     r"pretrained.blocks.\1.attn.\2"),
    (r"backbone\.encoder\.layer\.(\d+)\.attention\.([qkv])_proj", r"pretrained.blocks.\1.attn.\2"),
    (r"backbone\.encoder\.layer\.(\d+)\.attention\.(output\.dense|o_proj)",
     r"pretrained.blocks.\1.attn.proj"),
    (r"backbone\.encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1",
     r"pretrained.blocks.\1.ls\2.gamma"),
    (r"backbone\.encoder\.layer\.(\d+)\.", r"pretrained.blocks.\1."),
    (r"neck\.reassemble_stage\.layers\.(\d)\.projection", r"depth_head.projects.\1"),
    (r"neck\.reassemble_stage\.layers\.(\d)\.resize", r"depth_head.resize_layers.\1"),
    (r"head\.conv1", "depth_head.scratch.output_conv1"),
    (r"head\.conv2", "depth_head.scratch.output_conv2.0"),
    (r"head\.conv3", "depth_head.scratch.output_conv2.2"),
)  # fmt: skip


def original_names(state: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns a state dict of either family under the original's names, q, k, v apart.

    Raises:
        InputError: neither family's names.
    """
    if any(name.startswith("backbone.") for name in state):
        state = {_renamed(name): value for name, value in state.items()}
    elif "pretrained.pos_embed" not in state:
        raise InputError(f"{source}: lacks pretrained.pos_embed, no Depth Anything V2")
    apart: dict[str, Any] = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            thirds = np.array_split(np.asarray(value), 3)
            apart |= {name.replace(".qkv.", f".{n}."): third for n, third in zip("qkv", thirds)}
        else:
            apart[name] = value
    return apart


def _renamed(name: str) -> str:
    level = re.match(r"neck\.convs\.(\d)\.", name)
    if level:
        return f"depth_head.scratch.layer{int(level[1]) + 1}_rn.{name[level.end():]}"
    fusion = re.match(r"neck\.fusion_stage\.layers\.(\d)\.(.*)", name)
    if fusion:
        # Hugging Face counts from the deepest level.
        rest = fusion[2].replace("projection", "out_conv").replace("residual_layer", "resConfUnit")
        rest = rest.replace("convolution", "conv")
        return f"depth_head.scratch.refinenet{4 - int(fusion[1])}.{rest}"
    for pattern, new in _HUGGING_FACE:
        renamed, count = re.subn(f"^{pattern}", new, name)
        if count:
            return renamed
    return name
