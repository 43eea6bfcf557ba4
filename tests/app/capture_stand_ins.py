"""A recorder that the processes of a test run instead of the real one: quick, and bad on request.

What a "video" holds says what becomes of it: "bad" is refused, "bug" raises, "die" kills the
process, "wait" does not end, "node" tells the machine of a Ray cluster in a file beside the video
("node wait" does not end either); anything else becomes a small capture.
"""

import json
import os
import pathlib
import signal
import sys
import time
import types

from jaxhead.captures import folder as jobs
from jaxhead.captures.folder import run_job
from jaxhead.captures.validate import FORMAT, VERSION, file_digest
from jaxhead.files.atomic import new_folder
from jaxhead.files.errors import InputError

WORK = f"{__name__}:work"


def work(job, tell):
    """`jaxhead.app.folder.work` with the recorder below; a head is not read, only named."""
    sys.modules["jaxhead.captures.record"] = types.SimpleNamespace(record=record)
    jobs.record_options = lambda request, assets: (
        {} if request is None else {"fitting": request.described()}
    )
    return run_job(job, tell)


def record(video, out, *, size, fps, assets, progress, fitting=None):
    with new_folder(out) as folder:
        does = pathlib.Path(video).read_text()
        progress("landmarks", 1, 2)
        if does == "bad":
            raise InputError(f"{video}: no face")
        if does == "bug":
            raise KeyError("surprise")
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if does.startswith("node"):
            tell_node(pathlib.Path(video))
            time.sleep(1.0)
        while does.endswith("wait"):
            time.sleep(0.05)
        write_capture(folder, video, size=size, fps=fps, fitting=fitting)


def tell_node(video):
    import ray

    part = video.with_suffix(".part")
    part.write_text(ray.get_runtime_context().get_node_id())
    part.rename(video.with_suffix(".node"))


def write_capture(folder, video, *, size, fps, fitting=None):
    """What of a capture is looked at when a folder is done again."""
    (folder / "head.npz").write_text("")
    info = {
        "format": FORMAT, "version": VERSION, "frames": 2, "fps": fps, "size": [size, size],
        "audio_rate": 16000, "split": {"train": [0], "test": [1]}, "files": {"head.npz": "0"},
        "dropped": [{"first": 1, "last": 1, "reason": "no face"}],
        "source": {"name": pathlib.Path(video).name, "sha256": file_digest(video)},
    }  # fmt: skip
    info |= {} if fitting is None else {"fitting": fitting}
    (folder / "capture.json").write_text(json.dumps(info))
