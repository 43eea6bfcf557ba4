"""Presets are valid, can be written down and read back, and refuse what is out of range."""

import dataclasses

import pytest

from jaxhead.files.errors import ConfigurationError
from jaxhead.systems.avatar.config import PRESETS, AvatarConfig, default, insta
from jaxhead.training.configuration import check, describe, from_document, override, to_document


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_hashable_and_survive_being_written_down(name):
    config = PRESETS[name]()
    check(config)
    assert hash(config) == hash(PRESETS[name]())
    assert from_document(AvatarConfig, to_document(config)) == config
    assert override(AvatarConfig(), describe(config)) == config


def test_insta_has_the_published_sizes():
    config = insta()
    field = config.field
    assert (field.levels, field.features, field.log2_size, field.base_resolution) == (16, 8, 18, 16)
    assert (field.finest_resolution, field.hidden, field.expression_dims) == (2048, 64, 16)
    assert config.steps == 33000 and config.optimiser.ema == 0.95
    assert config != default()


def test_every_number_has_a_range_around_its_default_and_every_word_a_list():
    def fields(config):
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if dataclasses.is_dataclass(value):
                yield from fields(value)
            else:
                yield field, value

    for part in dataclasses.fields(AvatarConfig):
        if part.name == "loop":
            continue
        whole = getattr(AvatarConfig(), part.name)
        for field, value in fields(whole) if dataclasses.is_dataclass(whole) else [(part, whole)]:
            if isinstance(value, str):
                assert value in field.metadata["choices"], field.name
            elif not isinstance(value, bool):
                low, high = field.metadata["minimum"], field.metadata["maximum"]
                assert (value is None or low <= value <= high) and low < high, field.name


@pytest.mark.parametrize(
    "assignment, words",
    [
        ("field.levels=0", "field.levels"),
        ("field.mapping=frenet", "formula"),
        ("surface.nearest=tree", "volume, bvh"),
        ("sampling.head_rays=many", "head_rays"),
        ("field.level=4", "levels"),
        ("field.direction_encoding=fourier", "spherical harmonics, frequency"),
        ("loss.semantic=-1", "at least 0"),
        ("prior.distance=folder", "skin, mesh, capture"),
        ("prior.depth=guess", "mesh, skin, capture, folder, depth anything"),
    ],
)
def test_bad_settings_are_refused_by_name(assignment, words):
    with pytest.raises(ConfigurationError, match=words):
        override(default(), [assignment])


def test_runs_from_before_the_priors_keep_their_meaning():
    document = to_document(default())
    del document["prior"]
    del document["field"]["direction_encoding"], document["field"]["direction_bands"]
    for name in ("semantic", "depth_ordinal", "depth_smoothness"):
        del document["loss"][name]
    assert from_document(AvatarConfig, document) == default()
    assert default().field.direction_encoding == "spherical harmonics"
    assert default().loss.depth_ordinal == default().loss.depth_smoothness == 0
