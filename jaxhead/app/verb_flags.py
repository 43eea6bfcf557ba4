"""The flags of each verb; nothing heavy is imported here."""

from __future__ import annotations

from absl import flags

from jaxhead.app.cluster import define_cluster_flags
from jaxhead.app.flags import OptionalParser, define_view

LARGEST_SIDE = 2048


def _common(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "assets",
        None,
        "folder of third-party models; else $JAXHEAD_ASSETS, else the user cache",
        flag_values=values,
    )


def _device_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "devices",
        None,
        "how many devices to use; on a CPU so many host devices are made (default: all, one CPU)",
        lower_bound=1,
        upper_bound=4096,
        flag_values=values,
    )


def _size(values: flags.FlagValues, default: int | None, text: str, *, smallest: int = 16) -> None:
    flags.DEFINE_integer(
        "size", default, text, lower_bound=smallest, upper_bound=LARGEST_SIDE, flag_values=values
    )


def define_capture(values: flags.FlagValues) -> None:
    """Flags of `jaxhead capture`."""
    flags.DEFINE_string(
        "out", None, "the capture folder to make; of a folder of videos, the folder of captures",
        flag_values=values,
    )  # fmt: skip
    _folder(values)
    _size(values, 512, "side of the stored square frames in pixels", smallest=64)
    flags.DEFINE_float(
        "fps",
        25.0,
        "frames a second to resample to",
        lower_bound=1.0,
        upper_bound=120.0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "from",
        None,
        ["insta", "metrical-tracker", "vhap", "radnerf", "adnerf", "nerface"],
        "import a subject that this program stored (radnerf: also ER-NeRF) instead of a video; "
        "--fps is then its rate, and its pictures keep their size without --size",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "export",
        None,
        ["insta"],
        "write a capture as another program's data: INSTA's transforms.json, meshes, depth",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "held_out",
        None,
        "with --from insta or metrical-tracker: hold out so many last frames instead of those of "
        "the stored split (INSTA's paper: 350)",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "check",
        False,
        "only report how suitable the video is, with advice per finding; with --out, report and "
        "then capture",
        flag_values=values,
    )
    flags.DEFINE_string(
        "head",
        "mediapipe",
        "the head model that is fitted: mediapipe (the landmarks themselves), flame:PATH, bfm:PATH "
        "or npz:PATH; of an import, the model of its meshes: makes those of vhap, which stores "
        "parameters, and names regions and landmarks of the others",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "photometric",
        False,
        "fit the head model to the pixels as well, after the landmarks",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "start",
        "landmarks",
        ["landmarks", "deca"],
        "where the fit of the head model starts: landmarks (its mean, placed by them) or deca "
        "(FLAME's shape, expression and jaw as DECA's network sees them; needs deca_model.tar "
        "among the assets)",
        flag_values=values,
    )
    _common(values)


def _folder(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "jobs",
        None,
        "of a folder, how many videos at a time (default: half of the processors)",
        lower_bound=1,
        upper_bound=4096,
        flag_values=values,
    )
    flags.DEFINE(
        OptionalParser("local", r"local|auto|ray://\S+|[^\s/:]+:\d{1,5}", "address"),
        "ray",
        None,
        "of a folder, capture through Ray: on this machine, or on the cluster at auto, HOST:PORT "
        "or ray://HOST:PORT",
        flag_values=values,
    )


def define_synthesize(values: flags.FlagValues) -> None:
    """Flags of `jaxhead synthesize`."""
    flags.DEFINE_string("out", None, "the capture folder to make", flag_values=values)
    _size(values, 128, "side of the square frames in pixels")
    flags.DEFINE_integer(
        "frames",
        250,
        "how many frames, 25 a second",
        lower_bound=10,
        upper_bound=100_000,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "speech",
        "syllables",
        ["syllables", "phonemes", "espeak"],
        "syllables: the mouth is as open as it is loud; phonemes: it follows speech sounds; "
        "espeak: those of English words by eSpeak NG",
        flag_values=values,
    )
    _seed(values, 0, "of the person, the speech, the motion and the room")


def define_train(values: flags.FlagValues) -> None:
    """Flags of `jaxhead train`."""
    flags.DEFINE_string(
        "out",
        None,
        "the run folder, of several captures the folder of their runs; what exists is resumed",
        flag_values=values,
    )
    flags.DEFINE_string(
        "preset", None, "the configuration to start from (default: default)", flag_values=values
    )
    flags.DEFINE_multi_string(
        "set", [], "override one field, a.b=value; may be repeated", flag_values=values
    )
    flags.DEFINE_integer(
        "steps", None, "train for so many steps in all", lower_bound=1, flag_values=values
    )
    flags.DEFINE_float(
        "minutes",
        None,
        "train for about so long: measured after compiling, then fixed as a number of steps",
        lower_bound=0.01,
        upper_bound=1e6,
        flag_values=values,
    )
    _seed(values, None, "of the initial weights and of every random choice (default 0)")
    flags.DEFINE_bool(
        "replay",
        False,
        "train nothing: repeat the step that stopped the run and name what was not finite first",
        flag_values=values,
    )
    flags.DEFINE_string(
        "assets",
        None,
        "folder of weights that priors need, see docs/priors.md (also searched: $JAXHEAD_ASSETS)",
        flag_values=values,
    )
    _device_flags(values)
    define_cluster_flags(values)


def _seed(values: flags.FlagValues, default: int | None, of_what: str) -> None:
    flags.DEFINE_integer(
        "seed",
        default,
        f"seed {of_what}",
        lower_bound=0,
        upper_bound=2**31 - 1,
        flag_values=values,
    )


def define_render(values: flags.FlagValues) -> None:
    """Flags of `jaxhead render`."""
    flags.DEFINE_string(
        "out", None, "OUT.mp4 for a video, FOLDER/ for a PNG sequence", flag_values=values
    )
    flags.DEFINE_enum(
        "format",
        None,
        ["mp4", "png"],
        "what to write (default: png for a folder, else mp4)",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "split",
        "test",
        ["test", "train", "all"],
        "whose poses and expressions: held-out frames, training frames or both",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "frames",
        None,
        "at most so many frames, from the beginning of the split",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_float(
        "orbit",
        None,
        "swing the camera once by ± so many degrees around the head",
        lower_bound=-180.0,
        upper_bound=180.0,
        flag_values=values,
    )
    define_view(
        "view",
        "turn the camera around the head by degrees: to the picture's right, upwards",
        values,
    )
    flags.DEFINE_string(
        "expression_from", None, "a capture whose expressions drive the head", flag_values=values
    )
    flags.DEFINE_string(
        "pose_from", None, "a capture whose head poses are used", flag_values=values
    )
    flags.DEFINE_bool("neutral", False, "hold the neutral expression", flag_values=values)
    _render_outputs(values)
    flags.DEFINE_string(
        "capture", None, "the run's capture, where it has moved", flag_values=values
    )
    _size(values, None, "side of the rendered square in pixels (default: the capture's)")
    _device_flags(values)


def _render_outputs(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "background",
        None,
        "an image file, a colour (name or #rrggbb) or transparent (default: the capture's own)",
        flag_values=values,
    )
    flags.DEFINE_bool("side_by_side", False, "show the true frame beside it", flag_values=values)
    flags.DEFINE_string(
        "audio",
        None,
        "a sound file: what the person says, where speech drives the system; else played only",
        flag_values=values,
    )
    flags.DEFINE_string(
        "meshes",
        None,
        "also write the posed mesh of each frame, into this new folder",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "mesh_format", "ply", ["ply", "obj", "glb"], "the meshes' file format", flag_values=values
    )


def define_evaluate(values: flags.FlagValues) -> None:
    """Flags of `jaxhead evaluate`."""
    flags.DEFINE_bool(
        "list",
        False,
        "only show steps, sizes and health of the run's checkpoints; exit code 1 where one is "
        "damaged",
        flag_values=values,
    )
    flags.DEFINE_string("json", None, "also write the scores to this JSON file", flag_values=values)
    flags.DEFINE_string(
        "out",
        None,
        "a folder to make for table and pictures (default: RUN/evaluation, replaced each time)",
        flag_values=values,
    )
    flags.DEFINE_string(
        "capture", None, "the run's capture, where it has moved", flag_values=values
    )
    _device_flags(values)
    _common(values)


def define_convert(values: flags.FlagValues) -> None:
    """Flags of `jaxhead convert`."""
    flags.DEFINE_string("out", None, "the run folder to make", flag_values=values)
    flags.DEFINE_string(
        "capture", None, "the imported data set that the checkpoint was trained on",
        flag_values=values,
    )  # fmt: skip
    _seed(values, 0, "of what training draws when it goes on")
