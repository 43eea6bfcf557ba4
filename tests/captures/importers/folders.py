"""Subjects of other programs in miniature, written as those programs write them."""

import io
import json
import pickle
import zipfile

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

SIZE = 24
FRAMES = 4
FOCAL = 60.0
SCORES = 3


def ellipsoid(rows=6, columns=8):
    """A head of sorts: (V, 3) metres and (F, 3) triangles, counter-clockwise from outside."""
    points = [(0.0, 0.12, 0.0)]
    for row in range(1, rows):
        up = np.pi * row / rows
        for column in range(columns):
            angle = 2 * np.pi * column / columns
            points.append((
                0.08 * np.sin(up) * np.sin(angle), 0.12 * np.cos(up),
                0.09 * np.sin(up) * np.cos(angle),
            ))  # fmt: skip
    points.append((0.0, -0.12, 0.0))
    faces = []
    for column in range(columns):
        after = (column + 1) % columns
        faces.append((0, 1 + column, 1 + after))
        for row in range(rows - 2):
            a, b = 1 + row * columns + column, 1 + row * columns + after
            faces += [(a, a + columns, b), (b, a + columns, b + columns)]
        last = 1 + (rows - 2) * columns
        faces.append((last + column, len(points) - 1, last + after))
    return np.array(points, np.float32), np.array(faces, np.int32)


def poses(count=FRAMES):
    """(n, 4, 4) head to camera with OpenCV axes: the face looks at the camera, 0.5 m away."""
    result = np.tile(np.eye(4), (count, 1, 1))
    for index, pose in enumerate(result):
        turn = Rotation.from_euler("xyz", [3 * index, 8 - 5 * index, 2], degrees=True).as_matrix()
        pose[:3, :3] = np.diag([1.0, -1, -1]) @ turn
        pose[:3, 3] = [0.01 * index, -0.02, 0.5]
    return result


def meshes(count=FRAMES):
    """(n, V, 3) meshes that are linear in scores (n, E), and those scores."""
    template, _ = ellipsoid()
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(count, SCORES)).round(3)
    basis = 0.004 * rng.normal(size=(SCORES, *template.shape))
    return (template + np.einsum("ne,evk->nvk", scores, basis)).astype(np.float32), scores


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def disc(size=SIZE, radius=0.35):
    """(H, W) bool: where the head is."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    return axis[:, None] ** 2 + axis[None] ** 2 < radius**2


def picture(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def obj(path, vertices, faces):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    path.write_text("\n".join(lines))


def rewrite(path, change):
    """A JSON document with `change(document)` applied to it."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def insta(path, frames=FRAMES):
    """Of INSTA: the last frame is held out; the mouth's class is 140, clothes are at the bottom."""
    vertices, scores = meshes(frames)
    template, faces = ellipsoid()
    obj(path / "canonical.obj", template, faces)
    shared = {
        "w": float(SIZE), "h": float(SIZE), "fl_x": FOCAL, "fl_y": FOCAL + 2, "cx": 12.25,
        "cy": 11.5, "integer_depth_scale": 0.001,
    }  # fmt: skip
    entries = []
    for index, pose in enumerate(poses(frames)):
        name = f"{index:05d}"
        alpha = np.where(disc(), 255, 0).astype(np.uint8)
        classes = np.where(disc(), 250, 0).astype(np.uint8)
        classes[-6:] = np.where(disc()[-6:], 90, 0)
        red = np.zeros((SIZE, SIZE, 3), np.uint8)
        red[..., 0] = classes
        picture(path / f"images/{name}.png", np.dstack([noise((SIZE, SIZE, 3), index), alpha]))
        picture(path / f"seg_mask/{name}.png", red)
        picture(path / f"depth/{name}.png", np.full((SIZE, SIZE), 500 + index, np.uint16))
        obj(path / f"meshes/{name}.obj", vertices[index], faces)
        exp = path / f"flame/exp/{name}.txt"
        exp.parent.mkdir(parents=True, exist_ok=True)
        exp.write_text("\n".join(f"{v:.8f}" for v in scores[index]))
        entries.append({
            "transform_matrix": np.linalg.inv(pose).tolist(),
            "file_path": f"images/{name}.png", "mesh_path": f"meshes/{name}.obj",
            "exp_path": f"flame/exp/{name}.txt", "depth_path": f"depth/{name}.png",
            "seg_mask_path": f"seg_mask/{name}.png",
        })  # fmt: skip
    for split, part in (("train", entries[:-1]), ("test", entries[-1:]), ("val", entries[-1:])):
        document = {**shared, "frames": part}
        (path / f"transforms_{split}.json").write_text(json.dumps(document))
    return path


def opengl(pose):
    """Camera to world with OpenGL's axes of a head-to-camera matrix with OpenCV's."""
    return np.linalg.inv(np.diag([1.0, -1, -1, 1]) @ pose)


def parsed(size=SIZE):
    """(H, W, 3) as a viewer shows the parser's picture: head blue, neck green, cloth red."""
    colours = np.full((size, size, 3), 255, np.uint8)
    colours[disc(size)] = (0, 0, 255)
    colours[size * 3 // 4 :, 8:16] = (255, 0, 0)
    colours[size * 3 // 4 - 2 : size * 3 // 4, 8:16] = (0, 255, 0)
    return colours


def adnerf(path, *, lost=(2,), frames=6, rects=True):
    """Of AD-NeRF: frame 2 has no face; the last two are held out."""
    entries = []
    for index, pose in enumerate(poses(frames)):
        picture(path / f"ori_imgs/{index}.png", noise((SIZE, SIZE, 3), index))
        picture(path / f"parsing/{index}.png", parsed())
        if index in lost:
            continue
        marks = np.random.default_rng(index).uniform(4, 20, (68, 2))
        (path / f"ori_imgs/{index}.lms").write_text("\n".join(f"{x} {y}" for x, y in marks))
        entry = {
            "img_id": index, "aud_id": index, "transform_matrix": opengl(pose).tolist(),
        }  # fmt: skip
        if rects:
            entry["face_rect"] = [3, 4, 10, 11 + index]
        entries.append(entry)
    picture(path / "bc.jpg", np.full((SIZE, SIZE, 3), 90, np.uint8))
    shared = {"focal_len": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2}
    for split, part in (("train", entries[:-2]), ("val", entries[-2:])):
        document = {**shared, "frames": part}
        (path / f"transforms_{split}.json").write_text(json.dumps(document))
    windows = np.arange(frames - 1)[:, None, None] + np.zeros((frames - 1, 16, 29))
    np.save(path / "aud.npy", windows)
    return path


def nerface(path, signs=(-1, 1), frames=3):
    """Of NeRFace: a person before a grey wall; signs of the focal lengths."""
    documents = {"train": [], "val": [], "test": []}
    place = [("train", 0), ("train", 1), ("test", 0)][:frames]
    matrices = poses(frames)
    for number, (split, index) in enumerate(place):
        frame = np.full((SIZE, SIZE, 3), 128, np.uint8)
        frame[disc()] = noise((int(disc().sum()), 3), number) // 4 + 190
        picture(path / f"{split}/f_{index:04d}.png", frame)
        matrix = opengl(matrices[number])
        matrix[:3, 0] *= signs[0] * signs[1]
        matrix[0] *= signs[0] * signs[1]
        matrix[3] = [0, 0, 0, 1]
        documents[split].append({
            "file_path": f"./{split}/f_{index:04d}", "bbox": [0.1, 0.7, 0.2, 0.8],
            "transform_matrix": matrix.tolist(),
            "expression": [0.1 * number + k for k in range(76)],
        })  # fmt: skip
    picture(path / "bg/00050.png", np.full((2 * SIZE, 2 * SIZE, 3), 128, np.uint8))
    intrinsics = [signs[0] * FOCAL, signs[1] * (FOCAL + 2), 0.49, 0.52]
    for split, part in documents.items():
        document = {"camera_angle_x": 0.5, "intrinsics": intrinsics, "frames": part}
        (path / f"transforms_{split}.json").write_text(json.dumps(document))
    return path


def torch_archive(path, value):
    """What torch.save makes of a value without tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    pickle.dump(value, stream, protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/version", "3\n")


def ply(path, vertices, faces):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\n"
        f"property float y\nproperty float z\nelement face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    corners = np.zeros(len(faces), [("n", "u1"), ("ids", "<i4", (3,))])
    corners["n"], corners["ids"] = 3, faces
    path.write_bytes(header.encode() + vertices.astype("<f4").tobytes() + corners.tobytes())


def metrical(path, frames=FRAMES):
    """Of metrical-tracker: a jaw that stays as the canonical mesh has it, straight eyes."""
    vertices, scores = meshes(frames)
    template, faces = ellipsoid()
    obj(path / "canonical.obj", template, faces)
    angle = np.radians(12.0)
    K = np.array([[FOCAL, 0, 12.25], [0, FOCAL + 2, 11.5], [0, 0, 1]], np.float32)
    for index, pose in enumerate(poses(frames)):
        name = f"{index:05d}"
        torch_archive(path / f"checkpoint/{name}.frame", {
            "flame": {
                "exp": scores[None, index].astype(np.float32),
                "shape": np.zeros((1, 300), np.float32),
                "jaw": np.array([[1, 0, 0, 0, np.cos(angle), -np.sin(angle)]], np.float32),
                "eyes": np.array([[1, 0, 0, 0, 1, 0] * 2], np.float32),
                "eyelids": np.zeros((1, 2), np.float32),
            },
            "opencv": {
                "R": pose[None, :3, :3].astype(np.float32), "t": pose[None, :3, 3], "K": K[None]
            },
            "img_size": np.array([SIZE, SIZE]), "frame_id": name, "global_step": 7,
        })  # fmt: skip
        ply(path / f"mesh/{name}.ply", vertices[index], faces)
        frame = np.full((SIZE, SIZE, 3), 128, np.uint8)
        frame[disc()] = noise((int(disc().sum()), 3), index)
        picture(path / f"input/{name}.png", frame)
        picture(path / f"depth/{name}.png", np.full((SIZE, SIZE), 500 + index, np.uint16))
    return path
