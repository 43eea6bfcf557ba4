"""`jaxhead render`: a run becomes a video or a folder of pictures, and meshes beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator

import numpy as np

from jaxhead.app.backgrounds import parse_background
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.meshes import check_format, write_mesh
from jaxhead.app.outputs import refuse_existing
from jaxhead.app.progress import Counter
from jaxhead.app.runs import system_of_run
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions, RenderStream


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Where the pictures and the meshes go.

    path: the video file or the folder of pictures.
    kind: "mp4" or "png".
    alpha: whether the pictures carry the person's opacity.
    side_by_side: whether the true frame stands to the left of the render.
    meshes: folder of meshes, or None; mesh_format: their suffix without the dot.
    audio: a sound file that replaces the sound of a stream that does not follow it, or None.
    """

    path: str
    kind: str
    alpha: bool = False
    side_by_side: bool = False
    meshes: str | None = None
    mesh_format: str = "ply"
    audio: str | None = None


def run(arguments: Arguments) -> int:
    """Renders as the flags say; returns the exit code."""
    flags = arguments.flags
    outputs = _outputs(flags)
    options = _options(flags)
    _check(outputs)
    run_folder = pathlib.Path(arguments.positionals[0])
    system = system_of_run(run_folder, devices=flags.devices)
    write_stream(system.render_stream(run_folder, options), outputs)
    return 0


def write_stream(stream: RenderStream, outputs: Outputs) -> None:
    """Writes all pictures of a stream, and its meshes; nothing half-written keeps its name.

    Args:
        stream: the pictures.
        outputs: where they go.

    Raises:
        InputError: the stream lacks what was asked for (meshes, true frames), the sound cannot be
            read, an output exists or cannot be written.
    """
    if outputs.meshes is not None and (stream.vertices is None or stream.faces is None):
        raise InputError("--meshes: this system renders without meshes")
    if outputs.side_by_side and stream.capture is None:
        raise InputError("--side-by-side: the run's capture was not found; give it with --capture")
    sound, notes = _sound(stream, outputs)
    for note in (*stream.notes, *notes):
        print(f"note: {note}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        write_picture = stack.enter_context(_picture_writer(stream, outputs, sound))
        write_vertices = stack.enter_context(_mesh_writer(stream, outputs))
        progress = stack.enter_context(Counter("render", stream.count))
        for index, (frame, picture) in enumerate(zip(stream.frame_ids, stream.frames)):
            write_picture(_compose(stream, outputs, frame, picture))
            write_vertices(index)
            progress.advance()
    frames = "1 frame" if stream.count == 1 else f"{stream.count} frames"
    print(f"{outputs.path}: {frames}, {stream.fps:g} a second")
    if outputs.meshes is not None:
        print(f"{outputs.meshes}: the mesh of each frame as {outputs.mesh_format.upper()}, metres")


def straight_alpha(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns RGBA uint8 with straight alpha, as PNG wants it.

    Args:
        rgb: (H,W,3) float32 in [0, 1], premultiplied (composited over black).
        alpha: (H,W) float32 in [0, 1].
    """
    from jaxhead.evaluation.sheets import to_uint8

    # Below half a step of eight bits the colour is noise and invisible anyway.
    seen = alpha[..., None] > 1.0 / 510.0
    colour = np.where(seen, rgb / np.maximum(alpha[..., None], 1.0 / 510.0), 0.0)
    return to_uint8(np.concatenate([colour, alpha[..., None]], axis=-1))


def _outputs(flags) -> Outputs:
    if not flags.out:
        raise UsageError("--out is missing")
    folder = flags.out.endswith(("/", os.sep)) or os.path.isdir(flags.out)
    kind = flags.format or ("png" if folder else "mp4")
    if kind == "mp4" and (folder or not flags.out.lower().endswith(".mp4")):
        raise UsageError(f"--out {flags.out}: expected OUT.mp4, or FOLDER/ for a PNG sequence")
    transparent = flags.background == "transparent"
    if transparent and kind == "mp4":
        raise UsageError(
            "--background transparent: a video has no alpha; give --out FOLDER/ for PNG pictures"
        )
    if flags.audio is not None and kind == "png":
        raise UsageError("--audio: pictures have no sound; give --out OUT.mp4")
    return Outputs(
        path=flags.out,
        kind=kind,
        alpha=transparent,
        side_by_side=flags.side_by_side,
        meshes=flags.meshes,
        mesh_format=flags.mesh_format,
        audio=flags.audio,
    )


def _options(flags) -> RenderOptions:
    if flags.neutral and flags.expression_from is not None:
        raise UsageError("--neutral and --expression-from contradict each other: give one")
    if flags.view is not None and flags.orbit is not None:
        raise UsageError("--view and --orbit contradict each other: give one")
    return RenderOptions(
        split=flags.split,
        frames=flags.frames,
        orbit_degrees=flags.orbit,
        view=flags.view,
        expression_from=flags.expression_from,
        pose_from=flags.pose_from,
        audio=flags.audio,
        neutral=flags.neutral,
        background=parse_background(flags.background),
        capture=flags.capture,
        size=flags.size,
    )


def _check(outputs: Outputs) -> None:
    """Refuses at once what would only fail after minutes of rendering."""
    refuse_existing(outputs.path)
    if outputs.meshes is not None:
        refuse_existing(outputs.meshes)
        check_format(outputs.mesh_format)
    if outputs.audio is not None and not os.path.isfile(outputs.audio):
        raise InputError(f"{outputs.audio}: no such sound file")


def _sound(stream: RenderStream, outputs: Outputs) -> tuple[np.ndarray | None, list[str]]:
    """The sound of the video at the stream's rate, as long as the pictures, and remarks."""
    if outputs.kind != "mp4":
        return None, []
    rate = stream.audio_rate
    length = round(stream.count * rate / stream.fps)
    if outputs.audio is None or stream.follows_audio:
        samples, notes = stream.audio, []
    else:
        from jaxhead.files.sound import read_audio

        samples = read_audio(outputs.audio, rate=rate)
        if samples is None:
            raise InputError(f"{outputs.audio}: holds no sound")
        notes = [f"{outputs.audio} replaces the sound only: the face does not follow it"]
        difference = len(samples) - length
        if abs(difference) > rate / stream.fps:
            done = "cut" if difference > 0 else "followed by silence"
            notes.append(
                f"the sound lasts {len(samples) / rate:.2f} s, the pictures "
                f"{length / rate:.2f} s: the sound is {done}"
            )
    if samples is None:
        return None, notes
    missing = max(0, length - len(samples))
    # An hour of sound is a quarter of a gigabyte: copied only where it is too short.
    return (np.pad(samples, (0, missing)) if missing else samples[:length]), notes


@contextlib.contextmanager
def _picture_writer(stream: RenderStream, outputs: Outputs, sound) -> Iterator:
    if outputs.kind == "mp4":
        from jaxhead.files.video_writer import VideoWriter

        with VideoWriter(
            outputs.path, stream.fps, audio=sound, audio_rate=stream.audio_rate
        ) as writer:
            yield writer.write
        return
    from jaxhead.files.atomic import new_folder
    from jaxhead.files.images import write_image

    with new_folder(outputs.path) as folder:
        names = (folder / f"{index:06d}.png" for index in range(stream.count))
        yield lambda picture: write_image(next(names), picture)


@contextlib.contextmanager
def _mesh_writer(stream: RenderStream, outputs: Outputs) -> Iterator:
    if outputs.meshes is None:
        yield lambda index: None
        return
    from jaxhead.files.atomic import new_folder

    vertices = stream.vertices if stream.vertices is not None else iter(())
    with new_folder(outputs.meshes) as folder:

        def write(index: int) -> None:
            path = folder / f"{index:06d}.{outputs.mesh_format}"
            write_mesh(path, np.asarray(next(vertices)), np.asarray(stream.faces))

        yield write


def _compose(stream: RenderStream, outputs: Outputs, frame: int, picture: dict) -> np.ndarray:
    from jaxhead.evaluation.sheets import to_uint8

    rgb, alpha = np.asarray(picture["rgb"]), np.asarray(picture["alpha"])
    image = straight_alpha(rgb, alpha) if outputs.alpha else to_uint8(rgb)
    if not outputs.side_by_side:
        return image
    truth = _true_picture(stream, frame)
    if outputs.alpha:
        truth = np.concatenate([truth, np.full_like(truth[..., :1], 255)], axis=-1)
    return np.concatenate([truth, image], axis=1)


def _true_picture(stream: RenderStream, frame: int) -> np.ndarray:
    from PIL import Image

    height, width = stream.size
    if frame < 0 or stream.capture is None:
        return np.zeros((height, width, 3), np.uint8)
    picture = stream.capture.frame(int(frame))
    if picture.shape[:2] != (height, width):
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        picture = np.asarray(resized)
    return picture
