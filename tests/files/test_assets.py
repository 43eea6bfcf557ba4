import dataclasses
import hashlib
import io
import urllib.request

import pytest

from jaxhead.files import assets as module
from jaxhead.files.assets import ASSETS, Asset, asset_folders, download_asset, find_asset
from jaxhead.files.errors import InputError

DATA = b"a model"


@pytest.fixture
def toy(monkeypatch, tmp_path):
    asset = Asset(
        file="toy.bin",
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
        licence="CC0",
        url="https://example.org/toy.bin",
        what="a toy",
    )
    monkeypatch.setitem(ASSETS, "toy", asset)
    monkeypatch.delenv("JAXHEAD_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asset


def test_folders_are_searched_in_order(toy, tmp_path, monkeypatch):
    places = [tmp_path / "given", tmp_path / "variable", tmp_path / "cache" / "jaxhead" / "assets"]
    monkeypatch.setenv("JAXHEAD_ASSETS", str(places[1]))
    assert list(asset_folders(places[0])) == places
    for place in reversed(places):
        place.mkdir(parents=True)
        (place / "toy.bin").write_bytes(DATA)
        assert find_asset("toy", places[0] if place == places[0] else None) == place / "toy.bin"
    assert find_asset("toy.bin") == places[1] / "toy.bin"


def test_a_missing_asset_says_where_from_and_where_to(toy, tmp_path):
    with pytest.raises(InputError) as error:
        find_asset("toy")
    for part in [toy.url, toy.licence, str(tmp_path / "cache"), "$JAXHEAD_ASSETS"]:
        assert part in str(error.value)
    with pytest.raises(InputError, match="no such folder"):
        find_asset("toy", tmp_path / "none")
    with pytest.raises(InputError, match="unknown.*face_landmarker"):
        find_asset("no such name")


@pytest.mark.parametrize(
    "wrong, message", [(b"a modem", "checksum"), (b"short", "5 bytes, expected 7")]
)
def test_another_content_is_refused(toy, tmp_path, wrong, message):
    (tmp_path / "toy.bin").write_bytes(wrong)
    with pytest.raises(InputError, match=message):
        find_asset("toy", tmp_path)


class Response(io.BytesIO):
    url = "https://example.org/toy.bin"

    def geturl(self):
        return self.url


def test_downloading_checks_size_and_sum(toy, tmp_path, monkeypatch):
    sent = [DATA, b"a modem", DATA + b"x" * 1000, b""]
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(sent.pop(0)))
    path = download_asset("toy")
    assert path.read_bytes() == DATA and find_asset("toy") == path
    assert download_asset("toy") == path
    while sent:
        with pytest.raises(InputError, match="nothing was kept"):
            download_asset("toy", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_downloading_refuses_other_schemes_and_names_failures(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Response, "url", "http://example.org/toy.bin")
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(DATA))
    with pytest.raises(InputError, match="expected https"):
        download_asset("toy", tmp_path)

    def offline(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(InputError, match="no route to host"):
        download_asset("toy", tmp_path)
    monkeypatch.setitem(ASSETS, "toy", dataclasses.replace(toy, url="file:///etc/passwd"))
    with pytest.raises(InputError, match="refused"):
        download_asset("toy", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_finding_opens_no_connection(toy, monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(InputError):
        find_asset("face_landmarker")


def test_the_table_is_complete():
    for name, asset in ASSETS.items():
        assert module._asset(name) is asset and module._asset(asset.file) is asset
        assert len(asset.sha256) == 64 and int(asset.sha256, 16) and asset.size > 0
        assert asset.url.startswith("https://") and asset.licence and asset.what


def test_the_real_files_match_the_table(assets):
    for name, asset in ASSETS.items():
        if (assets / asset.file).is_file():
            assert find_asset(name, assets) == assets / asset.file
