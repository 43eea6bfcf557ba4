"""Speaks a text with eSpeak NG's library and writes sound and phonemes to the standard output.

A process of its own (`python -m jaxhead.audio.espeak_process` with the text on the standard input),
since the library has state and a fault in it must not end anything else. The output is one line of
JSON, {"rate": samples per second, "phonemes": [[milliseconds, name], ...]}, and then 16-bit
samples.
"""

import ctypes
import ctypes.util
import json
import sys

LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.so", "libespeak-ng.1.dylib", "libespeak-ng.dll")
# From espeak_ng/speak_lib.h.
_SYNCHRONOUS, _UTF8 = 2, 1
_PHONEME_EVENTS, _DONT_EXIT = 1, 1 << 15
_LIST_TERMINATED, _END, _PHONEME = 0, 5, 7


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


def load_library() -> ctypes.CDLL | None:
    """Returns eSpeak NG's library, None where it is not installed."""
    for name in (*LIBRARIES, ctypes.util.find_library("espeak-ng")):
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def speak(library: ctypes.CDLL, text: str, voice: str) -> tuple[int, list[list], bytes]:
    """Returns samples per second, [milliseconds, phoneme] in order, and 16-bit samples."""
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _DONT_EXIT)
    if rate <= 0 or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(f"eSpeak NG has no voice {voice}")
    sound, phonemes = bytearray(), []
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )

    def heard(samples, count, events) -> int:
        if samples and count > 0:
            sound.extend(ctypes.string_at(samples, 2 * count))
        at = 0
        while events[at].type != _LIST_TERMINATED:
            event = events[at]
            if event.type == _PHONEME:
                phonemes.append([event.audio_position, event.id.string.decode("utf-8", "replace")])
            elif event.type == _END:
                phonemes.append([event.audio_position, "_"])
            at += 1
        return 0

    callback = kind(heard)  # kept alive until the library is done
    library.espeak_SetSynthCallback(callback)
    data = text.encode()
    done = library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, _UTF8, None, None)
    if done != 0 or library.espeak_Synchronize() != 0:
        raise RuntimeError("eSpeak NG did not speak")
    return rate, phonemes, bytes(sound)


def main() -> int:
    """Reads the text, writes what was said; 1 with a line on the standard error where it fails."""
    library = load_library()
    if library is None:
        print("eSpeak NG is not installed", file=sys.stderr)
        return 1
    try:
        rate, phonemes, sound = speak(library, sys.stdin.read(), sys.argv[1])
    except (RuntimeError, AttributeError) as error:
        print(error, file=sys.stderr)
        return 1
    header = json.dumps({"rate": rate, "phonemes": phonemes})
    sys.stdout.buffer.write(header.encode() + b"\n" + sound)
    return 0


if __name__ == "__main__":
    sys.exit(main())
