"""MediaPipe's reports of its own use, kept from being sent.

The native library of its wheels tells play.googleapis.com of the tasks that are made, through
libcurl, and offers no switch (https://github.com/google-ai-edge/mediapipe/issues/6291). libcurl
takes its proxy from the environment, and one of a scheme that it does not know ends an attempt
before a name is looked up. Pictures were never sent; that somebody works with faces is enough.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

# An exception for all hosts ("*") would lead around the proxy.
_SETTINGS = {"https_proxy": "none://", "no_proxy": "none.invalid"}
_LOCK = threading.Lock()
_FORMER: list[dict[str, str | None]] = []


@contextlib.contextmanager
def without_reports() -> Iterator[None]:
    """A block in which libcurl, anywhere in this process, finds no way to an https address.

    Blocks may overlap in any order; the environment is as it was when the last one has ended.
    Python code that opens https addresses meanwhile is refused too.
    """
    with _LOCK:
        _FORMER.append({name: os.environ.get(name) for name in _SETTINGS})
        os.environ.update(_SETTINGS)
    try:
        yield
    finally:
        with _LOCK:
            # The first entry holds what stood there before any block.
            former = _FORMER[0] if len(_FORMER) == 1 else None
            _FORMER.pop()
            for name, value in (former or {}).items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
