"""Checkpoint files of the INSTA port, of the published size."""

import jax
import numpy as np
import pytest
from files import torch_pickles

from jaxhead.encodings.hash_grid import HashGridConfig, level_table
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar.checkpoint import head_to_insta, read_insta
from jaxhead.systems.avatar.model import head_field

PUBLISHED = HashGridConfig(
    levels=16, features=8, log2_size=18, base_resolution=16, finest_resolution=4096,
    rule="torch-ngp",
)  # fmt: skip
SMALL = HashGridConfig(
    levels=3, features=2, log2_size=9, base_resolution=4, finest_resolution=2048, rule="torch-ngp"
)


def state_dict(grid, *, bound=2.0, density=4, color=5, hidden=64, components=16, geometry=15):
    """A state dict as `torch.save` would hold it, in the order of the network."""
    rng = np.random.default_rng(0)

    def layers(name, first, count, last):
        widths = [first, *[hidden] * (count - 1), last]
        return {
            f"{name}.{k}.weight": rng.normal(size=(b, a)).astype(np.float32) / np.float32(a) ** 0.5
            for k, (a, b) in enumerate(zip(widths[:-1], widths[1:]))
        }

    box = np.float32([-bound] * 3 + [bound] * 3)
    table = rng.random((grid.entries, grid.features), np.float32)
    offsets = [level.offset for level in level_table(grid)] + [grid.entries]
    return {
        "aabb_train": box,
        "aabb_infer": box,
        "density_grid": np.zeros((2, 8), np.float32),
        "density_bitfield": np.zeros(2, np.uint8),
        "step_counter": np.zeros((16, 2), np.int32),
        "encoder.embeddings": table,
        "encoder.offsets": np.array(offsets, np.int32),
        **layers("sigma_net", grid.dimensions + components, density, 1 + geometry),
        **layers("color_net", 16 + geometry, color, 3),
    }


def checkpoint(state, **more):
    return {"epoch": 10, "global_step": 33000, "stats": {"loss": [0.5], "best_result": None},
            "mean_count": 7, "mean_density": 0.25, "model": state} | more  # fmt: skip


def weights(state):
    return {k: v for k, v in state.items() if "." in k and k != "encoder.offsets"}


def test_a_checkpoint_of_the_published_size_is_read_and_rendered(tmp_path):
    state = state_dict(PUBLISHED)
    torch_pickles.save(tmp_path / "ngp_ep0010.pth", checkpoint(state))
    found = read_insta(tmp_path / "ngp_ep0010.pth")
    assert (found.grid, found.bound, found.components) == (PUBLISHED, 2.0, 16)
    assert (found.step, found.averaged) == (33000, False)
    field = found.field
    assert (field.density_layers, field.color_layers, field.hidden) == (4, 5, 64)
    assert (field.log2_size, field.rule, field.mapping) == (18, "torch-ngp", "nearest")
    assert (field.expression_region, field.geometry_features, field.pose) == ("lips", 15, False)
    last = level_table(PUBLISHED)[-1]
    np.testing.assert_array_equal(
        np.asarray(found.params["tables"][-1]).T, state["encoder.embeddings"][last.offset :]
    )
    call = jax.jit(lambda p, x, d, c: head_field(p, x, d, c, config=field, grid=found.grid))
    points, directions = np.zeros((2, 3), np.float32), np.eye(3, dtype=np.float32)[:2]
    color, sigma, geometry = call(found.params, points, directions, np.ones((16, 2), np.float32))
    assert color.shape == (2, 3) and geometry.shape == (2, 15)
    assert np.isfinite(sigma).all() and np.ptp(color) > 0


def test_averages_are_what_the_port_renders_with(tmp_path):
    state = state_dict(SMALL, density=2, color=2, hidden=8, components=3, geometry=4)
    shadows = [value + 1 for value in weights(state).values()]
    ema = {"decay": 0.95, "num_updates": 9, "shadow_params": shadows, "collected_params": None}
    torch_pickles.save(tmp_path / "a.pth", checkpoint(state, ema=ema))
    found, plain = read_insta(tmp_path / "a.pth"), read_insta(tmp_path / "a.pth", average=False)
    assert found.averaged and not plain.averaged and found.components == 3
    for name, value in head_to_insta(found.params).items():
        np.testing.assert_array_equal(value, state[name] + 1)
    for name, value in head_to_insta(plain.params).items():
        np.testing.assert_array_equal(value, state[name])
    # The best checkpoint holds averages already and no grid; a bare state dict is taken as well.
    bare = {key: value for key, value in state.items() if key != "density_grid"}
    torch_pickles.save(tmp_path / "ngp.pth", bare)
    assert read_insta(tmp_path / "ngp.pth").step is None


def small():
    return state_dict(SMALL, density=2, color=2, hidden=8, components=3, geometry=4)


WRONG = {
    "a list": (lambda s: [1], "no state dict"),
    "other content": (lambda s: {"model": {"a": "text"}}, "no state dict"),
    "no table": (lambda s: drop(s, "encoder.embeddings"), "'encoder.embeddings' is missing"),
    "no box": (lambda s: drop(s, "aabb_train"), "'aabb_train' is missing"),
    "no colour": (lambda s: drop(s, "color_net.0.weight"), "'color_net.0.weight' is missing"),
    "bias": (lambda s: s | {"color_net.0.bias": np.zeros(3, np.float32)}, "color_net.0.bias"),
    "a hole": (lambda s: s | {"sigma_net.3.weight": np.zeros((1, 1), np.float32)}, "sigma_net.3"),
    "width": (lambda s: s | {"sigma_net.1.weight": np.zeros((5, 9), np.float32)}, "sigma_net.1"),
    "direction": (lambda s: s | {"color_net.0.weight": np.zeros((8, 9), np.float32)}, "color_net"),
    "bound": (lambda s: s | {"aabb_train": np.zeros(6, np.float32)}, "aabb_train ends at 0"),
    "another bound": (
        lambda s: s | {"aabb_train": np.float32([-1, -1, -1, 1, 1, 1])}, None),
    "offsets": (lambda s: s | {"encoder.offsets": np.int32([0, 128, 600, 1152])},
                "encoder.offsets has 600 at level 2"),
    "short table": (lambda s: s | {"encoder.embeddings": s["encoder.embeddings"][1:]},
                    "encoder.embeddings: shape"),
    "averages": (lambda s: checkpoint(s, ema={"shadow_params": [np.zeros(1, np.float32)]}),
                 "'ema' averages 1 parameters, the model has 5"),
}  # fmt: skip


def drop(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_by_file_and_name(tmp_path, case):
    change, message = WRONG[case]
    path = tmp_path / "ngp.pth"
    torch_pickles.save(path, change(small()))
    if message is None:  # coarse levels alone do not tell the bound
        assert read_insta(path).bound == 1.0
        return
    with pytest.raises(InputError, match=message) as error:
        read_insta(path)
    assert str(path) in str(error.value)
