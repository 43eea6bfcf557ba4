"""VHAP's exports, with a made-up model of FLAME's form."""

import functools
import json

import numpy as np
import pytest
from captures.importers.folders import SIZE, disc, noise, opengl, picture, poses, rewrite
from heads.flame_like import write_flame

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers import vhap
from jaxhead.captures.importers.importing import import_capture
from jaxhead.files.errors import InputError
from jaxhead.heads.flame import flame_vertices
from jaxhead.heads.flame_files import read_flame

FRAMES, SCORES, SHAPES = 3, 4, 5
FOCAL = 60.0


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_flame(tmp_path_factory.mktemp("flame"))


@pytest.fixture
def flame(written, monkeypatch):
    """The model's path; it is read once."""
    monkeypatch.setattr(vhap, "read_flame", read_once)
    return written


@functools.cache
def read_once(path):
    return read_flame(path)


def parameters():
    """Of three frames: turned by the neck and by the global rotation, somewhere in the world."""
    rng = np.random.default_rng(2)
    return {
        "translation": 0.1 * rng.normal(size=(FRAMES, 3)),
        "rotation": 0.3 * rng.normal(size=(FRAMES, 3)),
        "neck_pose": 0.2 * rng.normal(size=(FRAMES, 3)),
        "jaw_pose": np.abs(0.1 * rng.normal(size=(FRAMES, 3))) * [1, 0, 0],
        "eyes_pose": 0.1 * rng.normal(size=(FRAMES, 6)),
        "shape": rng.normal(size=SHAPES),
        "expr": rng.normal(size=(FRAMES, SCORES)),
        # VHAP's own model has teeth beyond FLAME's vertices.
        "static_offset": 1e-3 * rng.normal(size=(1, 5143, 3)),
    }


def world_to_camera():
    """(n, 4, 4) with OpenCV axes: cameras before a head that faces them."""
    return poses(FRAMES) @ np.diag([1.0, 1, 1, 1])


@pytest.fixture
def subject(tmp_path):
    """Two cameras; the second one is left out. The last frame is held out."""
    folder, values = tmp_path / "subject", parameters()
    entries = []
    for index, pose in enumerate(world_to_camera()):
        for camera in (3, 8):
            name = f"{index:05d}_{camera:02d}.png"
            picture(folder / "images" / name, noise((SIZE, SIZE, 3), index))
            picture(folder / "fg_masks" / name, np.where(disc(), 255, 0).astype(np.uint8))
            entries.append({
                "timestep_index": index, "timestep_index_original": index, "camera_index": camera,
                "cx": 12.25, "cy": 11.5, "fl_x": FOCAL, "fl_y": FOCAL + camera, "h": SIZE,
                "w": SIZE, "transform_matrix": opengl(pose).tolist(),
                "file_path": f"images/{name}", "fg_mask_path": f"fg_masks/{name}",
                "flame_param_path": f"flame_param/{index:05d}.npz",
            })  # fmt: skip
        own = {
            name: value if name in ("shape", "static_offset") else value[[index]]
            for name, value in values.items()
        }
        (folder / "flame_param").mkdir(exist_ok=True)
        np.savez(folder / "flame_param" / f"{index:05d}.npz", **own)
    for split, part in (("train", entries[:-2]), ("test", entries[-2:])):
        document = {"frames": part, "camera_indices": [3, 8]}
        (folder / f"transforms_{split}.json").write_text(json.dumps(document))
    return folder


def in_camera(flame, pose):
    """(n, V, 3) where FLAME itself puts the vertices of each frame's camera."""
    values = {name: np.float32(value) for name, value in parameters().items()}
    head = read_once(str(flame))
    head = head.replace(model=head.model.replace(
        template=head.model.template + values["static_offset"][0, :5023]
    ))  # fmt: skip
    angles = [values[name] for name in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
    world = np.asarray(flame_vertices(
        head, np.tile(values["shape"], (FRAMES, 1)), values["expr"], np.concatenate(angles, 1),
        translation=values["translation"],
    ))  # fmt: skip
    return np.einsum("nij,nvj->nvi", pose[:, :3, :3], world) + pose[:, None, :3, 3]


def seen(capture):
    pose = capture.head_to_camera
    turned = np.einsum("nij,nvj->nvi", pose[:, :3, :3], capture.vertices)
    return turned + pose[:, None, :3, 3]


def test_meshes_stand_where_flame_puts_them(subject, flame, tmp_path):
    notes = import_capture("vhap", subject, tmp_path / "out", head=f"flame:{flame}")
    capture = load_capture(tmp_path / "out")
    assert capture.info["notes"] == notes and any("2 cameras: 3 was taken" in n for n in notes)
    assert capture.train.tolist() == [0, 1] and capture.test.tolist() == [2]
    np.testing.assert_allclose(seen(capture), in_camera(flame, world_to_camera()), atol=2e-6)
    np.testing.assert_array_equal(capture.K, [[60, 0, 12.25], [0, 63, 11.5], [0, 0, 1]])
    # The head stands still in its own space: what moves there is the face, not the crown.
    spread = np.ptp(capture.vertices, axis=0)
    head = capture.head
    crown = head.template[:, 1] > np.quantile(head.template[:, 1], 0.97)
    assert spread[crown].max() < 0.02 < np.ptp(parameters()["translation"])
    assert head.expression_names[:5] == (*(f"flame_expression_{k:03d}" for k in range(4)),
                                         "jaw_pose_0")  # fmt: skip
    np.testing.assert_array_equal(head.expression_basis[:4],
                                  read_once(str(flame)).model.expression_basis[:4])  # fmt: skip
    np.testing.assert_allclose(capture.expression[:, :4], parameters()["expr"], rtol=1e-5)
    assert capture.landmarks.shape == (FRAMES, 70, 2) and len(head.landmark_faces) == 70
    np.testing.assert_array_equal(capture.masks(1)[..., 0], 255 * disc())


def test_a_tracked_clip_without_calibration(subject, flame, tmp_path):
    """The camera is the tracker's: at z = 1, looking along -z."""
    for split in ("train", "test"):
        rewrite(subject / f"transforms_{split}.json",
                lambda d: [f.pop("flame_param_path") for f in d["frames"]])  # fmt: skip
    values = {**parameters(), "focal_length": np.array([2.0])}
    np.savez(subject / "tracked_flame_params_9.npz", **{**values, "expr": values["expr"][:1]})
    np.savez(subject / "tracked_flame_params_30.npz", **values)
    import_capture("vhap", subject, tmp_path / "out", head=f"flame:{flame}")
    capture = load_capture(tmp_path / "out")
    np.testing.assert_array_equal(capture.K, [[48, 0, 12], [0, 48, 12], [0, 0, 1]])
    pose = np.tile(np.diag([1.0, -1, -1, 1]), (FRAMES, 1, 1))
    pose[:, 2, 3] = 1.0
    np.testing.assert_allclose(seen(capture), in_camera(flame, pose), atol=2e-6)


def stored(subject, **changes):
    path = subject / "flame_param/00001.npz"
    with np.load(path) as arrays:
        values = dict(arrays) | changes
    np.savez(path, **{name: value for name, value in values.items() if value is not None})


def train(change):
    return lambda p: rewrite(p / "transforms_train.json", lambda d: change(d["frames"][2]))


MISTAKES = {
    "no jaw": (lambda p: stored(p, jaw_pose=None), "00001.npz: jaw_pose is missing"),
    "jaw": (lambda p: stored(p, jaw_pose=np.zeros((1, 6))), "jaw_pose has shape"),
    "text": (lambda p: stored(p, expr=np.array([["a"]])), "expr"),
    "nan": (lambda p: stored(p, rotation=np.full((1, 3), np.nan)), "not finite"),
    "lengths": (lambda p: stored(p, rotation=np.zeros((2, 3))), "different lengths"),
    "shape": (lambda p: stored(p, shape=np.ones(SHAPES)), "another shape"),
    "too many": (lambda p: stored(p, shape=np.ones(999)), "999 coefficients, FLAME has 300"),
    "scores": (lambda p: stored(p, expr=np.zeros((1, 7))), "expr of another length"),
    "offset": (lambda p: stored(p, static_offset=np.zeros((1, 9, 3))), "static_offset"),
    "no file": (train(lambda f: f.update(flame_param_path="flame_param/9.npz")), "9.npz"),
    "no mask": (train(lambda f: f.pop("fg_mask_path")), "fg_mask_path is missing"),
    "other camera": (train(lambda f: f.update(fl_x=70.0)), "another fl_x"),
    "other size": (train(lambda f: f.update(h=30)), "several sizes"),
    "mirrored": (
        train(lambda f: [row.__setitem__(0, -row[0]) for row in f["transform_matrix"]]), "mirrors"
    ),
    "outside": (train(lambda f: f.update(fg_mask_path="../../a.png")), "leads out"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(subject, flame, tmp_path, mistake):
    spoil, reason = MISTAKES[mistake]
    spoil(subject)
    with pytest.raises(InputError, match=reason) as caught:
        import_capture("vhap", subject, tmp_path / "out", head=f"flame:{flame}")
    assert str(subject) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["subject"]


@pytest.mark.parametrize("head", [None, "flame", "bfm:a.mat", "flame:"])
def test_flame_has_to_be_named(subject, tmp_path, head):
    with pytest.raises(InputError, match="--head flame:PATH"):
        import_capture("vhap", subject, tmp_path / "out", head=head)
    with pytest.raises(InputError, match="none.pkl"):
        import_capture("vhap", subject, tmp_path / "out", head=f"flame:{tmp_path}/none.pkl")
