"""Writes the small PyTorch files that `tests/files/test_torch_files.py` reads.

    python -m experiments.make_checkpoint_files tests/files/checkpoints

Needs torch, which neither the library nor its tests do: run it only to make the files anew. The
files in the repository were written by torch 2.13 on a CPU; `cuda` ones are those with the device's
name put in, which is all that differs in a file of a GPU.
"""

import collections
import io
import pathlib
import sys

import numpy as np


def content(torch) -> dict:
    """One of everything that checkpoints hold; numbers count up from 0."""
    row = torch.arange(12, dtype=torch.float32)
    layer = torch.nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(6.0).view(3, 2))
        layer.bias.copy_(torch.arange(3.0))
    state = type(layer.state_dict())((k, v.clone()) for k, v in layer.state_dict().items())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    names = "float64 float16 bfloat16 int64 int32 int16 int8 uint8 complex64 complex128".split()
    return {
        "whole": row,
        "strided": row.view(3, 4)[:, ::2],
        "transposed": row.view(3, 4).t(),
        "offset": row[5:8],
        "expanded": torch.full((1, 1), 7.0).expand(3, 2),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.arange(2.0)),
        **{name: torch.arange(3).to(getattr(torch, name)) for name in names},
        "state": state,
        "optimizer": optimizer.state_dict(),
        "ordered": collections.OrderedDict(a=1, b=[2.5, None, True, "x", b"bytes", (1, 2)]),
        "numpy": np.arange(4.0).reshape(2, 2),
        "numpy_scalar": np.float32(0.25),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "device": torch.device("cuda:0"),
        "step": 2**40,
    }


def main(folder: pathlib.Path) -> None:
    """Writes all files."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    values = content(torch)
    torch.save(values, folder / "zip.pth")
    stream = io.BytesIO()
    torch.save(values, stream, _use_new_zipfile_serialization=False)
    # Locations are texts of a length in front: "cpu" and "cuda:0".
    moved = stream.getvalue().replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0")
    (folder / "stream_cuda.tar").write_bytes(moved)
    newer = {name: torch.ones(2).to(getattr(torch, name)) for name in ("uint16", "float8_e4m3fn")}
    torch.save(newer, folder / "newer.pt")
    embedding = {
        "static": np.arange(3, dtype=np.int64),
        "dynamic": torch.arange(6).view(2, 3),
        "view": torch.arange(6.0).view(2, 3)[:, 1:],
    }
    np.save(folder / "embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    torch.save(torch.nn.Linear(1, 1), folder / "model.pth")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
