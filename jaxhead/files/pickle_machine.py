"""The opcodes of Python's pickle format, carried out on plain data: nothing in a file is called.

Python's own unpickler imports and calls what a file names. This one knows no import: a name is
looked up by the caller, who answers with a `Maker` of plain data or refuses. Each opcode costs at
least a byte of the file and their number is bounded, so work and memory are bounded by the file's
length.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_parts import Inert, Made, Maker, check_key

MAX_OPCODES = 4_000_000
_MAX_DIGITS = 300


class Machine:
    """One pass over one pickle.

        value, end = Machine(data, start, find).run()

    Args:
        data: the bytes of the file.
        start: where the pickle begins.
        find: called with module and name of a global; gives a `Maker` or `Inert`, or raises.
        persistent: called with a persistent id; None refuses those.
    """

    def __init__(
        self,
        data: bytes,
        start: int,
        find: Callable[[str, str], Made],
        persistent: Callable[[Any], Any] | None = None,
    ):
        self._data = data
        self._at = start
        self._find = find
        self._persistent = persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        """The value, whose `Made` parts are not plain yet, and the place behind the pickle.

        Raises:
            InputError: what is asked for is refused, or too much.
            Exception: of many kinds, where the file is damaged.
        """
        data = self._data
        for _ in range(MAX_OPCODES):
            opcode = data[self._at]
            self._at += 1
            if opcode == 0x2E:  # STOP
                return self._stack.pop(), self._at
            action = _ACTIONS.get(opcode)
            if action is None:
                raise InputError(f"has opcode {opcode:#x} at byte {self._at - 1}, which is refused")
            action(self)
        raise InputError(f"has more than {MAX_OPCODES} opcodes")

    # What opcodes read.

    def _take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if count < 0 or len(piece) != count:
            raise InputError(f"is cut off at byte {len(self._data)}")
        self._at += count
        return piece

    def _number(self, layout: str) -> int:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> bytes:
        end = self._data.index(b"\n", self._at)
        line = self._data[self._at : end]
        self._at = end + 1
        return line

    def _digits(self) -> str:
        line = self._line()
        if len(line) > _MAX_DIGITS:
            raise InputError(f"has a number of {len(line)} digits")
        return line.decode("ascii")

    def _marked(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    # What opcodes do.

    def proto(self) -> None:
        version = self._take(1)[0]
        if version > 5:
            raise InputError(f"has pickle protocol {version}, expected at most 5")

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._marked()

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def integer(self) -> None:
        text = self._digits()
        self._stack.append(text == "01" if text in ("00", "01") else int(text))

    def long(self, size: int) -> None:
        if not 0 <= size <= _MAX_DIGITS:
            raise InputError(f"has a number of {size} bytes")
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def string(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise InputError("has a text without quotes")
        self._stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))

    def append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Inert):
            raise InputError(f"appends to {type(target).__name__}, expected a list")

    def add(self) -> None:
        items, target = self._marked(), self._stack[-1]
        if type(target) is not set:
            raise InputError(f"adds to {type(target).__name__}, expected a set")
        target.update(check_key(item) for item in items)

    def store(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            return
        if type(target) is not dict or len(items) % 2:
            raise InputError(f"stores in {type(target).__name__}, expected a dictionary")
        for key, value in zip(items[::2], items[1::2]):
            target[check_key(key)] = value

    def dictionary(self) -> None:
        items = self._marked()
        self._stack.append({})
        self.store(items)

    def named(self, module: str, name: str) -> None:
        self._stack.append(self._find(module, name))

    def stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise InputError("names a global by something else than text")
        self.named(module, name)

    def make(self, maker: Any, args: Any) -> None:
        if isinstance(maker, Inert):
            self._stack.append(Inert(maker.name))
        elif not isinstance(maker, Maker) or type(args) is not tuple:
            raise InputError(f"calls {type(maker).__name__}, which is refused")
        else:
            self._stack.append(maker.make(*args))

    def reduce(self) -> None:
        args = self._stack.pop()
        self.make(self._stack.pop(), args)

    def new_with_names(self) -> None:
        named = self._stack.pop()
        if named != {}:
            raise InputError("calls something with named arguments, which is refused")
        self.reduce()

    def instance(self) -> None:
        module, name = self._line().decode("utf-8"), self._line().decode("utf-8")
        args = self._marked()
        self.make(self._find(module, name), tuple(args))

    def old_object(self) -> None:
        maker, *args = self._marked()
        self.make(maker, tuple(args))

    def build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Made):
            target.build(state)
        elif type(target) is not dict:  # that of an ordered dictionary holds nothing that is asked
            raise InputError(f"gives a state to {type(target).__name__}, which has none")

    def persistent(self, ident: Any) -> None:
        if self._persistent is None:
            raise InputError("refers to data outside of the file, which is refused")
        self._stack.append(self._persistent(ident))

    def push(self, value: Any) -> None:
        self._stack.append(value)


def _text(layout: str, kind: str) -> Callable[[Machine], None]:
    """The action of an opcode for a text or bytes whose length comes first."""

    def action(m: Machine) -> None:
        data = m._take(m._number(layout))
        m.push(data if kind == "bytes" else data.decode(kind, "surrogatepass"))

    return action


def _binary_string(layout: str) -> Callable[[Machine], None]:
    """Texts of Python 2 are bytes; they are read as Latin-1, which keeps every one."""
    return lambda m: m.push(m._take(m._number(layout)).decode("latin-1"))


def _tuple(count: int) -> Callable[[Machine], None]:
    def action(m: Machine) -> None:
        if len(m._stack) < count:
            raise InputError("takes more from its stack than there is")
        items = tuple(m._stack[-count:])
        del m._stack[-count:]
        m.push(items)

    return action


def _pair(m: Machine) -> None:
    value, key = m._stack.pop(), m._stack.pop()
    m.store([key, value])


def _named(m: Machine) -> None:
    module, name = m._line().decode("utf-8"), m._line().decode("utf-8")
    m.named(module, name)


# fmt: off
_ACTIONS: dict[int, Callable[[Machine], None]] = {code[0]: action for code, action in {
    b"\x80": Machine.proto, b"\x95": lambda m: m._take(8),  # FRAME: its length is not needed
    b"(": Machine.mark, b"0": Machine.pop, b"1": lambda m: m._marked() and None,
    b"2": lambda m: m.push(m._stack[-1]),
    b"p": lambda m: m.put(int(m._digits())), b"q": lambda m: m.put(m._number("<B")),
    b"r": lambda m: m.put(m._number("<I")), b"\x94": lambda m: m.put(len(m._memo)),
    b"g": lambda m: m.get(int(m._digits())), b"h": lambda m: m.get(m._number("<B")),
    b"j": lambda m: m.get(m._number("<I")),
    b"N": lambda m: m.push(None), b"\x88": lambda m: m.push(True), b"\x89": lambda m: m.push(False),
    b"I": Machine.integer, b"J": lambda m: m.push(m._number("<i")),
    b"K": lambda m: m.push(m._number("<B")), b"M": lambda m: m.push(m._number("<H")),
    b"L": lambda m: m.push(int(m._digits().rstrip("L"))),
    b"\x8a": lambda m: m.long(m._number("<B")), b"\x8b": lambda m: m.long(m._number("<i")),
    b"F": lambda m: m.push(float(m._digits())), b"G": lambda m: m.push(m._number(">d")),
    b"S": Machine.string, b"T": _binary_string("<i"), b"U": _binary_string("<B"),
    b"V": lambda m: m.push(m._line().decode("raw-unicode-escape")),
    b"X": _text("<I", "utf-8"), b"\x8c": _text("<B", "utf-8"), b"\x8d": _text("<Q", "utf-8"),
    b"B": _text("<I", "bytes"), b"C": _text("<B", "bytes"), b"\x8e": _text("<Q", "bytes"),
    b"\x96": _text("<Q", "bytes"),
    b")": lambda m: m.push(()), b"\x85": _tuple(1), b"\x86": _tuple(2), b"\x87": _tuple(3),
    b"t": lambda m: m.push(tuple(m._marked())),
    b"]": lambda m: m.push([]), b"l": lambda m: m.push(m._marked()),
    b"a": lambda m: m.append([m._stack.pop()]), b"e": lambda m: m.append(m._marked()),
    b"}": lambda m: m.push({}), b"d": Machine.dictionary, b"s": _pair,
    b"u": lambda m: m.store(m._marked()),
    b"\x8f": lambda m: m.push(set()), b"\x90": Machine.add,
    b"\x91": lambda m: m.push({check_key(item) for item in m._marked()}),
    b"c": _named, b"\x93": Machine.stack_global, b"R": Machine.reduce, b"\x81": Machine.reduce,
    b"\x92": Machine.new_with_names, b"i": Machine.instance, b"o": Machine.old_object,
    b"b": Machine.build,
    b"P": lambda m: m.persistent(m._line().decode("utf-8")),
    b"Q": lambda m: m.persistent(m._stack.pop()),
}.items()}
# fmt: on
