"""Pickles as Python 2 wrote them: text and bytes are one type, modules have their old names."""

import io
import pickle
import struct
import sys
import types

import numpy as np

RENAMED = {
    b"cnumpy._core.multiarray\n": b"cnumpy.core.multiarray\n",
    b"cscipy.sparse._csc\n": b"cscipy.sparse.csc\n",
    b"cscipy.sparse._csr\n": b"cscipy.sparse.csr\n",
}


class _Pickler(pickle._Pickler):
    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, obj):
        text = obj if isinstance(obj, bytes) else obj.encode("latin-1")
        size = len(text)
        self.write(
            b"U" + bytes([size]) + text if size < 256 else b"T" + struct.pack("<i", size) + text
        )
        self.memoize(obj)

    dispatch[bytes] = dispatch[str] = save_bytes


def dumps(value, protocol: int = 2) -> bytes:
    """The pickle that Python 2 would have written of `value`; protocol 0 is text."""
    if protocol < 1:
        data = pickle.dumps(value, protocol)
    else:
        stream = io.BytesIO()
        _Pickler(stream, protocol).dump(value)
        data = stream.getvalue()
    for new, old in RENAMED.items():
        data = data.replace(new, old)
    return data


def chumpy(value) -> object:
    """An object that is pickled as chumpy's wrapper of an array is."""
    module = sys.modules.get("chumpy.ch")
    if module is None:
        module = types.ModuleType("chumpy.ch")
        module.Ch = type("Ch", (), {"__module__": "chumpy.ch", "__qualname__": "Ch"})
        sys.modules["chumpy"] = types.ModuleType("chumpy")
        sys.modules["chumpy.ch"] = module
    result = module.Ch()
    result.__dict__ = {"_dirty_vars": set(), "x": np.asarray(value), "_itr": None}
    return result
