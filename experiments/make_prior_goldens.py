"""Goldens of the priors' networks, made once by their original code with stand-in weights.

    python -m experiments.make_prior_goldens --out tests/goldens --clip CLIP \
        --depth_anything Depth-Anything-V2 --deca DECA

Needs PyTorch and transformers, which nothing else here does, and checkouts of openai/CLIP,
DepthAnything/Depth-Anything-V2 and yfeng95/DECA. A golden stores names, shapes, inputs and outputs;
the weights follow from the names (`tests/goldens_reader.py`).
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import types
from typing import Any

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
from goldens_reader import fill  # noqa: E402

SALT = "prior"
FLAGS = flags.FLAGS
flags.DEFINE_string("out", "tests/goldens", "folder of the goldens")
flags.DEFINE_string("clip", None, "checkout of openai/CLIP", required=True)
flags.DEFINE_string("depth_anything", None, "checkout of DepthAnything/Depth-Anything-V2",
                    required=True)
flags.DEFINE_string("deca", None, "checkout of yfeng95/DECA", required=True)


def loaded(model: Any, config: dict[str, Any], published=lambda name: name) -> dict[str, tuple]:
    """Fills a model's state dict; returns {published name: shape}.

    Args:
        model: `torch.nn.Module`, put into evaluation mode.
        config: of the golden; its "shift" is added to the values of its names.
        published: what the checkpoint calls an entry that the model calls otherwise.
    """
    import torch

    keys, state = {}, {}
    for name, value in model.state_dict().items():
        own = published(name)
        keys[own] = tuple(value.shape)
        new = fill(own, value.shape, SALT) + config.get("shift", {}).get(own, 0)
        state[name] = torch.from_numpy(np.asarray(new)).to(value.dtype)
    model.load_state_dict(state, strict=True)
    model.eval()
    return keys


def save(name: str, keys, inputs, outputs, **manifest: Any) -> None:
    """Writes one golden in the format of `tests/goldens_reader.py`."""
    shapes = {key: list(shape) for key, shape in keys.items()}
    manifest = {"salt": SALT, "notes": "", **manifest, "keys": shapes}
    arrays = {f"in/{k}": np.asarray(v) for k, v in inputs.items()}
    arrays |= {f"out/{k}": np.asarray(v) for k, v in outputs.items()}
    path = pathlib.Path(FLAGS.out) / f"{name}.npz"
    np.savez_compressed(path, manifest=np.array(json.dumps(manifest)), **arrays)
    print(path, path.stat().st_size, {k: float(np.abs(v).max()) for k, v in outputs.items()})


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 values of two digits, which compress."""
    return np.round(np.random.RandomState(seed).standard_normal(shape), 1).astype(np.float32)


def clip_openai() -> None:
    """The layout of ViT-L/14 at 336 pixels in OpenAI's names, small, with its text model."""
    import torch

    package = types.ModuleType("clip_source")
    package.__path__ = [str(pathlib.Path(FLAGS.clip) / "clip")]
    sys.modules["clip_source"] = package
    model = importlib.import_module("clip_source.model")
    sizes = dict(
        embed_dim=40, image_resolution=70, vision_layers=3, vision_width=128, vision_patch_size=14,
        context_length=7, vocab_size=11, transformer_width=64, transformer_heads=1,
        transformer_layers=1,
    )
    encoder = model.CLIP(**sizes)
    keys = loaded(encoder, {})
    pixels = noise(2, 3, 70, 70)
    with torch.no_grad():
        code = encoder.visual(torch.from_numpy(pixels)).numpy()
    # What an archive holds beside the tensors of the state dict.
    keys |= {"input_resolution": (), "context_length": (), "vocab_size": ()}
    save(
        "prior_clip_openai", keys, {"pixels": pixels}, {"embedding": code}, system="CLIP",
        module="whole model under OpenAI's names (image encoder)",
        source="openai/CLIP clip/model.py CLIP.visual", config=sizes,
        notes="pixels [B,3,H,W] already normalised.",
    )


def clip_hugging_face() -> None:
    """The layout of ViT-B/16 in Hugging Face's names, small, with its text model."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    vision = dict(
        hidden_size=128, intermediate_size=512, projection_dim=48, num_hidden_layers=2,
        num_attention_heads=2, image_size=64, patch_size=16, hidden_act="quick_gelu",
    )
    text = dict(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
        vocab_size=11, max_position_embeddings=7, projection_dim=48,
    )
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=48))
    keys = loaded(model, {})
    pixels = noise(2, 3, 64, 64, seed=1)
    with torch.no_grad():
        found = model.vision_model(torch.from_numpy(pixels))
        code = model.visual_projection(found.pooler_output).numpy()
    save(
        "prior_clip_hugging_face", keys, {"pixels": pixels}, {"embedding": code}, system="CLIP",
        module="whole model under Hugging Face's names (image encoder)",
        source="transformers (PyPI) models/clip CLIPModel", config={"vision_config": vision},
        notes="pixels [B,3,H,W] already normalised.",
    )


def depth_anything() -> None:
    """Depth Anything V2 at a small size, from the original, over a grid of its own and another."""
    import torch

    stand_in("cv2", INTER_CUBIC=2, INTER_AREA=3, INTER_NEAREST=0)
    stand_in("torchvision")
    stand_in("torchvision.transforms", Compose=None)
    sys.path.insert(0, FLAGS.depth_anything)
    dpt = importlib.import_module("depth_anything_v2.dpt")
    dino = importlib.import_module("depth_anything_v2.dinov2")
    block = dino.partial(dino.Block, attn_class=dino.MemEffAttention)
    model = dpt.DepthAnythingV2("vits", 16, [8, 16, 24, 32])
    model.pretrained = dino.DinoVisionTransformer(
        img_size=70, patch_size=14, embed_dim=128, depth=4, num_heads=2, block_fn=block,
        init_values=1.0, block_chunks=0, interpolate_offset=0.1,
    )
    model.depth_head = dpt.DPTHead(128, 16, False, out_channels=[8, 16, 24, 32])
    model.intermediate_layer_idx = {"vits": [0, 1, 2, 3]}
    config = {"taps": [0, 1, 2, 3], "heads": 2,
              "shift": {"depth_head.scratch.output_conv2.2.bias": 1.0}}
    keys = loaded(model, config)
    inputs = {"pixels": noise(1, 3, 70, 70, seed=2), "wide": noise(1, 3, 56, 98, seed=3)}
    with torch.no_grad():
        outputs = {k: model(torch.from_numpy(v)).numpy() for k, v in inputs.items()}
    save(
        "prior_depth_anything", keys, inputs, outputs, system="Depth Anything V2",
        module="whole network", source="DepthAnything/Depth-Anything-V2 depth_anything_v2/dpt.py",
        config=config, notes="inputs [B,3,H,W] already normalised; `wide` interpolates positions.",
    )


def depth_anything_hugging_face() -> None:
    """The same sizes under the names of Hugging Face's files."""
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=2, image_size=70, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], apply_layernorm=True,
        reshape_hidden_states=False,
    )
    model = DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=128, patch_size=14,
        neck_hidden_sizes=[8, 16, 24, 32], fusion_hidden_size=16, head_hidden_size=32,
    ))

    def published(name: str) -> str:
        # The library renames entries as it reads the files.
        for part in ("query", "key", "value"):
            name = name.replace(f"attention.{part[0]}_proj", f"attention.attention.{part}")
        return name.replace("attention.o_proj", "attention.output.dense")

    config = {"taps": [0, 1, 2, 3], "heads": 2, "shift": {"head.conv3.bias": 1.0}}
    keys = loaded(model, config, published)
    pixels = noise(1, 3, 70, 70, seed=4)
    with torch.no_grad():
        depth = model(torch.from_numpy(pixels)).predicted_depth.numpy()
    save(
        "prior_depth_anything_hugging_face", keys, {"pixels": pixels}, {"pixels": depth},
        system="Depth Anything V2", module="whole network under Hugging Face's names",
        source="transformers (PyPI) models/depth_anything DepthAnythingForDepthEstimation",
        config=config, notes="pixels [B,3,H,W] already normalised.",
    )


def deca() -> None:
    """DECA's regressor, at its own size and with one block a stage."""
    import torch

    class NoWeights:
        def __init__(self, **_):
            pass

        def state_dict(self):
            return {}

    models = types.SimpleNamespace(resnet50=NoWeights)
    stand_in("torchvision", models=models)
    package = types.ModuleType("deca_source")
    package.__path__ = [str(pathlib.Path(FLAGS.deca) / "decalib" / "models")]
    sys.modules["deca_source"] = package
    encoders = importlib.import_module("deca_source.encoders")
    resnet = importlib.import_module("deca_source.resnet")
    # Coarse squares: a picture of noise would not compress.
    coarse = np.random.RandomState(5).randint(0, 256, (2, 3, 28, 28)).astype(np.uint8)
    crops = torch.from_numpy(np.kron(coarse, np.ones((8, 8), np.uint8))).float() / 255
    for name, blocks in (("prior_deca", [3, 4, 6, 3]), ("prior_deca_small", [1, 2, 1, 1])):
        model = torch.nn.Module()
        model.E_flame = encoders.ResnetEncoder(outsize=236)
        model.E_flame.encoder = resnet.ResNet(resnet.Bottleneck, blocks)
        keys = loaded(model, {})
        with torch.no_grad():
            features = model.E_flame.encoder(crops)
            code = model.E_flame(crops)
        save(
            name, keys, {"coarse": coarse}, {"features": features.numpy(), "code": code.numpy()},
            system="DECA", module="coarse regressor E_flame",
            source="yfeng95/DECA decalib/models/encoders.py ResnetEncoder",
            config={"blocks": blocks, "split": [100, 50, 50, 6, 3, 27]},
            notes="crops are 8 times `coarse` [B,3,28,28], each value a square of 8 pixels, / 255; "
            "evaluation mode; features before the two linear layers.",
        )


def stand_in(name: str, **members: Any) -> None:
    """A module that the originals import and that is not needed here."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def torchscript_archive() -> None:
    """A tiny scripted module, as the file that `jaxhead.files.torchscript` reads."""
    import torch

    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2).half()
            self.register_buffer("count", torch.arange(4))

        def forward(self, x):
            return self.layer(x)

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = Inner()
            self.blocks = torch.nn.Sequential(Inner(), torch.nn.ReLU())
            self.scale = torch.nn.Parameter(torch.tensor(0.0))
            self.resolution = 224

        def forward(self, x):
            return self.scale * self.blocks(self.visual(x))

    model = Outer()
    state = {
        name: torch.from_numpy(np.asarray(fill(name, value.shape, SALT))).to(value.dtype)
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    folder = pathlib.Path(FLAGS.out).parent / "files" / "checkpoints"
    torch.jit.script(model.eval()).save(str(folder / "script.pt"))


def main(_) -> None:
    torchscript_archive()
    clip_openai()
    clip_hugging_face()
    deca()
    depth_anything()
    depth_anything_hugging_face()


if __name__ == "__main__":
    app.run(main)
