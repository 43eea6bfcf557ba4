"""Weights of networks: the first file that is there, else a line that says where to get them."""

import pytest

from jaxhead.files.errors import InputError
from jaxhead.files.weights import WEIGHTS, find_weights, read_weights


@pytest.fixture(autouse=True)
def no_weights_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXHEAD_ASSETS", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_any_of_the_names_is_found_where_assets_are_searched(tmp_path, name):
    files = WEIGHTS[name].files
    for file in reversed(files):
        path = tmp_path / "named" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        assert find_weights(name) == path
    given = tmp_path / "given" / files[-1]
    given.parent.mkdir(parents=True)
    given.write_bytes(b"")
    assert find_weights(name, tmp_path / "given") == given


def test_what_is_missing_is_said_in_a_line(tmp_path):
    with pytest.raises(InputError, match="weights 'vgg' are unknown, expected one of clip_vit_b32"):
        find_weights("vgg")
    with pytest.raises(InputError, match="no such folder"):
        find_weights("deca", tmp_path / "none")
    with pytest.raises(InputError) as error:
        find_weights("deca", tmp_path)
    message = str(error.value)
    assert "\n" not in message and str(tmp_path / "deca_model.tar") in message
    assert "get it from https://" in message


def test_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "deca_model.tar").write_bytes(b"no archive at all")
    with pytest.raises(InputError, match="deca_model.tar: "):
        read_weights(tmp_path / "deca_model.tar")
    (tmp_path / "a.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(InputError, match="a.safetensors: "):
        read_weights(tmp_path / "a.safetensors")
