"""Mutations of media files, read in a process whose memory and time are bounded.

    python mutations.py FOLDER COUNT [FIRST]

makes one tiny file of every kind that the program reads and reads COUNT mutations of them, in turn.
Each ends in its content or in an `InputError` of one line that names the file. Prints a summary as
JSON; anything else ends the process with a traceback, the last line before it names the case.
"""

import collections
import faulthandler
import io
import itertools
import json
import os
import pathlib
import pickle
import shutil
import struct
import sys
import time
import zipfile
import zlib

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (1, 2)]

import numpy as np
from files.making import clip, mutated

from jaxhead.files.arrays import read_npy_mmap, read_npz, write_npz
from jaxhead.files.errors import InputError
from jaxhead.files.images import image_size, read_image, write_image
from jaxhead.files.pickles import read_pickle
from jaxhead.files.safetensors import read_safetensors
from jaxhead.files.sound import read_audio, write_wav
from jaxhead.files.torch_files import read_torch
from jaxhead.files.video import decode, probe

SECONDS = 120
"""Of wall time until a case counts as hanging; on a busy machine a second of work takes many."""


def sources(folder: pathlib.Path) -> list[pathlib.Path]:
    """One file of every kind, a few kilobytes each."""
    sound = np.sin(np.arange(8000) * 0.1).astype(np.float32)
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    made = [
        clip(folder / "a.mp4", sound=sound, frames=12),
        clip(folder / "b.mov", frames=12, rotation=90),
        clip(folder / "c.mkv", sound=sound, frames=12),
        clip(folder / "d.webm", frames=12, codec="libvpx"),
        clip(folder / "e.avi", frames=12, codec="mpeg4"),
        clip(folder / "f.mp4", frames=12, flags="frag_keyframe+empty_moov"),
    ]
    for name, rate in (("g.wav", 16000), ("h.wav", 44100)):
        write_wav(folder / name, sound[:2000], rate)
    _flac(folder / "i.flac", sound[:2000])
    write_image(folder / "j.png", noise)
    write_image(folder / "k.jpg", noise)
    _webp(folder / "l.webp", noise)
    arrays = {"a": np.eye(4, dtype=np.float32), "names": np.array(["jawOpen", "ü"])}
    write_npz(folder / "m.npz", arrays)
    np.save(folder / "n.npy", arrays["a"])
    _weights(folder)
    names = "g.wav h.wav i.flac j.png k.jpg l.webp m.npz n.npy".split()
    names += "o.pkl p.pth q.tar r.safetensors".split()
    return [*made, *(folder / name for name in names)]


def _weights(folder: pathlib.Path) -> None:
    data = {"f": np.arange(6), "list": [1, 2.5, "x", None, (True, b"y")]}
    (folder / "o.pkl").write_bytes(pickle.dumps(data, 2))
    made = pathlib.Path(__file__).parent / "checkpoints"
    shutil.copy(made / "zip.pth", folder / "p.pth")
    shutil.copy(made / "stream_cuda.tar", folder / "q.tar")
    table = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    safe = len(table).to_bytes(8, "little") + table + bytes(8)
    (folder / "r.safetensors").write_bytes(safe)


def _flac(path: pathlib.Path, samples: np.ndarray) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        pcm = np.round(samples * 30000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _webp(path: pathlib.Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, lossless=True)


def mutant(source: pathlib.Path, seed: int) -> bytes:
    """A mutation of the file; where checksums would catch all of them, every other is inside."""
    data = source.read_bytes()
    if seed % 2 == 0:
        return mutated(data, seed)
    if source.suffix == ".png":
        return _resealed(mutated(data, seed))
    if source.suffix in (".npz", ".pth"):
        return _repacked(data, seed)
    return mutated(data, seed)


def _resealed(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold now."""
    result, place = bytearray(data), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 <= len(data):
            struct.pack_into(">I", result, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(result)


def _repacked(data: bytes, seed: int) -> bytes:
    """An archive of the same names whose members are mutated and then packed as they should be."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for number, name in enumerate(old.namelist()):
            content = old.read(name)
            new.writestr(name, content and mutated(content, seed + 1000 * number))
    return stream.getvalue()


def read(path: pathlib.Path) -> None:
    """Everything that the program reads out of such a file."""
    if path.suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi"):
        for call in (_pictures, read_audio):  # either may refuse what the other reads
            _attempt(call, path)
        probe(path)
    elif path.suffix in (".wav", ".flac"):
        samples = read_audio(path)
        assert samples is None or np.isfinite(samples).all()
    elif path.suffix == ".npz":
        read_npz(path, max_bytes=1 << 20)
    elif path.suffix == ".npy":
        read_npy_mmap(path)
    elif path.suffix in (".pkl", ".pth", ".tar", ".safetensors"):
        call = {".pkl": read_pickle, ".safetensors": read_safetensors}.get(path.suffix, read_torch)
        call(path, max_bytes=1 << 20)
    else:
        _attempt(image_size, path)
        assert read_image(path, max_pixels=1e6).shape[-1] == 3


def _pictures(path: pathlib.Path) -> None:
    for frame in itertools.islice(decode(path), 200):
        assert frame.dtype == np.uint8 and frame.shape[-1] == 3


def _attempt(call, path: pathlib.Path) -> bool:
    """Whether the file was refused, in one line that names it."""
    try:
        call(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
        return True
    return False


def _limit_memory(extra: int) -> None:
    """Address space: what is in use now and `extra` bytes; Linux only."""
    if sys.platform == "linux":
        import resource

        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + extra
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(folder: pathlib.Path, count: int, first: int = 0) -> None:
    made = sources(folder)
    for path in made:  # whole, every one is read; this also loads what readers import late
        read(path)
    _limit_memory(1 << 30)
    refused = collections.Counter()
    slowest = (0.0, "")
    for seed in range(first, first + count):
        source = made[seed % len(made)]
        path = folder / f"mutated{source.suffix}"
        path.write_bytes(mutant(source, seed // len(made)))
        print(f"seed {seed} of {source.name}", flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        begin = time.process_time()
        refused[source.name] += _attempt(read, path)
        slowest = max(slowest, (time.process_time() - begin, f"{source.name} {seed}"))
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"refused": refused, "slowest": slowest}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
