"""A checkpoint of INSTA-pytorch becomes a run that renders and trains on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captures.importers import folders
from files import torch_pickles
from systems.avatar.test_checkpoint import SMALL, checkpoint, state_dict

from jaxhead.app.main import main
from jaxhead.captures.importers.importing import import_capture
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar import convert, verbs
from jaxhead.systems.avatar.checkpoint import head_to_insta, occupied_at, read_insta
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.model import head_field
from jaxhead.systems.avatar.rays import Frames, head_at
from jaxhead.training.loop import load_variables
from jaxhead.training.runs import load_run

SIDE = 16


def morton(x, y, z):
    """A cell's place in the port's grids: bits of x, y and z in turn."""
    return sum(
        ((v >> bit) & 1) << (3 * bit + axis) for axis, v in enumerate((x, y, z)) for bit in range(8)
    )


def packed(cells):
    """The port's bit field of (cascade, x, y, z) cells."""
    bits = np.zeros((2, SIDE**3), bool)
    for cascade, x, y, z in cells:
        bits[cascade, morton(x, y, z)] = True
    return np.packbits(bits.reshape(-1), bitorder="little")


MIDDLE = [(0, x, y, z) for x in (7, 8) for y in (7, 8) for z in (7, 8)]


def file_of(path, cells=MIDDLE, **more):
    state = state_dict(SMALL, density=2, color=2, hidden=8, components=3, geometry=4)
    state["density_bitfield"] = packed(cells)
    state["density_grid"] = np.zeros((2, SIDE**3), np.float32)
    torch_pickles.save(path, checkpoint(state | more))
    return path


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    path = tmp_path_factory.mktemp("subject")
    import_capture("insta", folders.insta(path / "subject"), path / "capture")
    return path / "capture"


@pytest.fixture(scope="module")
def few():
    """The port's recipe with few samples: a test is no GPU."""

    def ported(found, capture, full=convert.ported):
        config = full(found, capture)
        sampling = dataclasses.replace(
            config.sampling, head_rays=32, samples=8, segments=16, occupancy_resolution=16
        )
        loop = dataclasses.replace(config.loop, steps_per_dispatch=1)
        return dataclasses.replace(config, sampling=sampling, loop=loop)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(convert, "ported", ported)
        yield


@pytest.fixture(scope="module")
def run(captured, few):
    file = file_of(captured.parent / "ngp_ep0010.pth")
    out = captured.parent / "run"
    given = ["--capture", str(captured), "--out", str(out)]
    assert main(["convert", "avatar", str(file), *given]) == 0
    return out


def test_bits_are_cells_in_morton_s_order(tmp_path):
    cells = [(0, 3, 9, 14), (1, 15, 0, 2), (1, 1, 2, 4)]
    found = read_insta(file_of(tmp_path / "a.pth", cells)).occupied
    assert found.shape == (2, SIDE, SIDE, SIDE) and found.sum() == 3
    assert all(found[cell] for cell in cells)
    # Cells of an eighth of a metre within a metre, of a quarter around that.
    points = np.array([
        [-1 + 3.5 / 8, -1 + 9.5 / 8, -1 + 14.5 / 8], [-2 + 15.5 / 4, -2 + 0.5 / 4, -2 + 2.5 / 4],
        [0.0, 0.0, 0.0], [-2 + 1.5 / 4, -2 + 2.5 / 4, -2 + 4.5 / 4],
    ])  # fmt: skip
    assert occupied_at(found, points, 2.0).tolist() == [True, True, False, True]
    assert read_insta(file_of(tmp_path / "b.pth", [])).occupied is None
    with pytest.raises(InputError, match="density_bitfield has 3 bytes"):
        read_insta(file_of(tmp_path / "c.pth", density_bitfield=np.zeros(3, np.uint8)))


def test_the_run_holds_the_port_s_field_in_its_space(run, captured):
    loaded = load_run(run)
    config = loaded.config_as(AvatarConfig)
    assert (config.field.cube, config.field.density) == (4, "metre")
    assert config.field.mapping == "nearest"
    assert config.field.expression == "coefficients" and not config.torso.shown
    assert loaded.sources[1]["bound"] == 2 and loaded.sources[1]["near"] == 0.01
    assert loaded.steps == {"avatar": 100_000} and config.surface.nearest == "bvh"
    spec, inputs = loaded.spec_as(AvatarSpec), loaded.inputs()
    frozen = {name: jnp.asarray(value) for name, value in verbs.frozen_arrays(inputs).items()}
    (stage,) = verbs.build(config, spec, frozen, None)
    variables, _ = load_variables(stage, run, seed=0)
    params = variables.params["avatar"]
    assert set(params) == {"head"}
    read = read_insta(captured.parent / "ngp_ep0010.pth")
    published = head_to_insta(read.params)
    for name, value in head_to_insta(params["head"]).items():
        np.testing.assert_array_equal(value, published.pop(name))
    assert not published

    # At the neutral mesh every point is its own canonical point: the field is the port's there.
    points = np.random.default_rng(0).uniform(-0.06, 0.06, (64, 3)).astype(np.float32)
    directions = np.tile(np.float32([0.6, 0.0, 0.8]), (64, 1))
    frames = Frames(
        frozen["template"][None], jnp.ones((1, 3)), jnp.zeros((1, 2, 2, 2), jnp.float32)
    )
    rgb, sigma, canonical, _ = jax.jit(
        lambda p: head_at(
            p, points, directions, jnp.zeros(64, jnp.int32), frames, frozen, config=config
        )
    )(params["head"])
    np.testing.assert_allclose(canonical, points, atol=1e-6)
    expected = head_field(
        read.params, (points + 2) / 4, directions, np.ones((3, 64), np.float32), config=read.field
    )
    np.testing.assert_allclose(rgb, expected[0], atol=2e-4)
    np.testing.assert_allclose(sigma, expected[1], rtol=1e-3)
    # The middle cells reach an eighth of a metre each way; the box is larger.
    grid = variables.state["occupancy"]
    full = np.asarray(grid.thickness) > 0
    assert full.any() and not full.all()
    axes = [np.linspace(low, high, 17)[:-1] + (high - low) / 32 for low, high in
            zip(*np.asarray(frozen["box"]))]  # fmt: skip
    inside = np.abs(np.stack(np.meshgrid(*axes, indexing="ij"), -1)).max(-1) < 0.125
    np.testing.assert_array_equal(full, inside)


def test_it_renders(run):
    stream = verbs.render_stream(run, RenderOptions())
    (picture,) = list(stream.frames)
    assert picture["rgb"].shape == (24, 24, 3) and np.all(np.isfinite(picture["rgb"]))
    head = picture["rgb"] - (1 - picture["alpha"][..., None])  # over white
    assert picture["alpha"].max() > 0.1
    assert head.min() > -1e-5 and np.all(head <= picture["alpha"][..., None] + 1e-5)


def test_what_does_not_fit_is_refused_and_leaves_nothing(captured, folder, tmp_path, few):
    good = file_of(tmp_path / "good.pth")
    wide = tmp_path / "wide.pth"
    torch_pickles.save(wide, checkpoint(state_dict(SMALL, density=2, color=2, components=4)))
    far = file_of(tmp_path / "far.pth", [(1, 0, 0, 0)])
    out = tmp_path / "run"
    for files, capture, message in (
        ([good, good], captured, "one checkpoint makes a run, 2 were given"),
        ([good], folder, "is from a video, expected the subject"),
        ([wide], captured, "3 expression coefficients, the checkpoint takes 4"),
        ([far], captured, "another subject or in another space"),
    ):
        with pytest.raises(InputError, match=message):
            convert.convert(files, out, capture=capture)
        assert not out.exists()
    folders.adnerf(tmp_path / "speaker")
    import_capture("adnerf", tmp_path / "speaker", tmp_path / "meshless")
    with pytest.raises(InputError, match="no head mesh"):
        convert.convert([good], out, capture=tmp_path / "meshless")
