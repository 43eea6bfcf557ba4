"""Released checkpoints, name by name and moment by moment."""

import copy
import re

import numpy as np
import pytest
from systems.adnerf.published_files import body_file, head_file

from jaxhead.files.errors import InputError
from jaxhead.networks.torch_layers import to_published
from jaxhead.systems.adnerf import checkpoint
from jaxhead.systems.adnerf.nerf_config import NerfConfig, published


@pytest.fixture(scope="module")
def head():
    return head_file(299_999)


@pytest.fixture(scope="module")
def body():
    return body_file(599_999)


def test_published_sizes_map_with_nothing_left_over(head, body):
    config, features = checkpoint.sizes(head, NerfConfig(), "head", body)
    assert (config, features) == (NerfConfig(), 29)
    found = checkpoint.read_head(head, config, features, "head")
    assert (found.kind, found.steps) == ("head", 300_000)
    for part, name in checkpoint.NETWORKS.items():
        back = to_published(found.params[part])
        assert set(back) == set(head[name])
        assert all(np.array_equal(back[key], head[name][key]) for key in back)
    torso = checkpoint.read_body(body, config, "body")
    assert torso.steps == 600_000 and set(torso.params) == {"coarse", "fine"}
    count = sum(value.size for value in to_published(torso.params["coarse"]).values())
    assert count == 683_140


def test_moments_follow_their_parameters(head):
    found = checkpoint.read_head(head, published(), 29, "head")
    order = list(head["network_fn_state_dict"])
    state = head["optimizer_state_dict"]["state"]
    for part, first in (("coarse", 0), ("fine", len(order))):
        adam = found.adams[part]
        assert int(adam.count) == 300_000
        mean, square = to_published(adam.mean), to_published(adam.square)
        for place, name in enumerate(order):
            moments = state.get(first + place)
            if moments is None:
                assert name.startswith("feature_linear") and not np.any(mean[name])
            else:
                np.testing.assert_array_equal(mean[name], moments["exp_avg"])
                np.testing.assert_array_equal(square[name], moments["exp_avg_sq"])
    assert int(found.adams["attention"].count) == 100_000
    assert np.any(found.adams["audio"].mean["encoder_conv_0"]["kernel"])


def test_attention_without_moments_begins_anew(head):
    content = {k: v for k, v in head.items() if k != "optimizer_audatt_state_dict"}
    found = checkpoint.read_head(content, published(), 29, "head")
    assert int(found.adams["attention"].count) == 0
    assert not np.any(found.adams["attention"].mean["attentionNet_0"]["kernel"])


def test_numbers_of_parameters_may_be_anything(head):
    content = copy.copy(head)
    adam = head["optimizer_aud_state_dict"]
    group = adam["param_groups"][0]
    content["optimizer_aud_state_dict"] = {
        "state": {140_000 + n: moments for n, moments in adam["state"].items()},
        "param_groups": [group | {"params": [140_000 + n for n in group["params"]]}],
    }
    found = checkpoint.read_head(content, published(), 29, "head")
    expected = checkpoint.read_head(head, published(), 29, "head")
    kernel = found.adams["audio"].mean["encoder_fc1_2"]["kernel"]
    np.testing.assert_array_equal(kernel, expected.adams["audio"].mean["encoder_fc1_2"]["kernel"])


def without(content, network, name):
    return content | {network: {k: v for k, v in content[network].items() if k != name}}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: {"model": {}}, "global_step is missing, expected a checkpoint of AD-NeRF"),
        (lambda c: [1, 2], "not a checkpoint of AD-NeRF, expected a dictionary"),
        (lambda c: without(c, "network_fn_state_dict", "rgb_linear.bias"), "rgb_linear.bias is mi"),
        (
            lambda c: c | {"network_fine_state_dict": c["network_fine_state_dict"] | {"x.bias": 0}},
            "network_fine_state_dict: x.bias: not a weight of this network",
        ),
        (
            lambda c: c | {"network_audnet_state_dict": c["network_audnet_state_dict"]
                           | {"encoder_fc1.2.bias": np.full(64, np.nan)}},
            "network_audnet_state_dict holds values that are not finite",
        ),
        (lambda c: c | {"global_step": -3}, "global_step is -3, expected a number of steps"),
        (lambda c: c | {"optimizer_state_dict": {"state": {}, "param_groups": []}}, "has 0 param"),
        (lambda c: without(c, "network_fn_state_dict", "pts_linears.0.weight"), "pts_linears.0.w"),
    ],
)  # fmt: skip
def test_what_is_no_such_checkpoint_is_named(head, change, message):
    content = change(head)
    with pytest.raises(InputError, match="^a.tar: .*" + re.escape(message)):
        checkpoint.kind_of(content, "a.tar")
        config, features = checkpoint.sizes(content, published(), "a.tar")
        checkpoint.read_head(content, config, features, "a.tar")
