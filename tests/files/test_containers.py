import io
import struct

import pytest

from jaxhead.files.containers import _File, declared_size


def atom(name: bytes, length: int, held: int | None = None) -> bytes:
    return struct.pack(">I4s", length, name) + bytes((length if held is None else held) - 8)


def size(kind: str, data: bytes) -> int:
    return declared_size(io.BytesIO(data), kind, len(data))


def test_mov_adds_up_its_atoms():
    whole = atom(b"ftyp", 16) + atom(b"mdat", 40)
    assert size("mov", whole) == len(whole)
    assert size("mov", whole[:-5]) == len(whole)
    large = struct.pack(">I4sQ", 1, b"mdat", 10**12)
    assert size("mov", atom(b"ftyp", 16) + large) == 16 + 10**12
    assert size("mov", atom(b"ftyp", 16) + struct.pack(">I4s", 0, b"mdat")) == 0
    # Padding that was cut off is not missed.
    assert size("mov", whole + atom(b"free", 100, 20)) == 0


def test_matroska_states_its_segment():
    head = b"\x1aE\xdf\xa3\x82ab\x18S\x80g"
    assert size("matroska", head + b"\x85hello") == len(head) + 6
    assert size("matroska", head + b"\x01" + (1000).to_bytes(7, "big")) == len(head) + 8 + 1000
    assert size("matroska", head + b"\x01" + b"\xff" * 7) == 0
    assert size("matroska", b"\x1aE\xdf\xa3\x82abnothing") == 0


def test_riff_chunks_are_chained():
    chunk = b"RIFF" + struct.pack("<I", 32) + bytes(32)
    assert size("avi", chunk) == 40 - 16
    assert size("avi", chunk + chunk[:20]) == 80 - 16
    for unknown in (0, 0xFFFFFFFF):
        assert size("avi", b"RIFF" + struct.pack("<I", unknown) + bytes(32)) == 0


@pytest.mark.parametrize("kind", ["mov", "matroska", "avi", "wav", "flac"])
def test_nothing_is_declared_by_rubbish(kind):
    for data in [b"", b"\0", b"\0" * 50]:
        assert size(kind, data) == 0


def test_impossible_seeks_fail_quietly(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with _File(io.FileIO(tmp_path / "a")) as file:
        assert file.seek(-5) == -1
        assert file.seek(1 << 70) == -1
        assert file.seek(1) == 1 and file.read() == b"bc"
