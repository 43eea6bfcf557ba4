import struct
import zlib

import numpy as np
import pytest
from files.making import mutated
from PIL import Image

from jaxhead.files.errors import InputError
from jaxhead.files.images import decode_image, image_size, read_image, read_layer, write_image


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape, mode", [((5, 7), "L"), ((5, 7, 3), "RGB"), ((5, 7, 4), "RGBA")])
def test_png_round_trip_is_exact(tmp_path, shape, mode):
    pixels = noise(*shape)
    write_image(tmp_path / "a.png", pixels)
    back = read_image(tmp_path / "a.png", mode=mode)
    assert back.dtype == np.uint8 and back.flags.writeable
    np.testing.assert_array_equal(back, pixels)
    assert image_size(tmp_path / "a.png") == (7, 5)


def test_modes_convert(tmp_path):
    pixels = noise(5, 7, 4)
    write_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels[..., :3])
    assert read_image(tmp_path / "a.png", mode="L").shape == (5, 7)
    write_image(tmp_path / "g.png", pixels[..., :1])
    assert read_image(tmp_path / "g.png").shape == (5, 7, 3)
    assert (read_image(tmp_path / "g.png", mode="RGBA")[..., 3] == 255).all()


def test_jpeg_is_close_and_compression_levels_differ_only_in_size(tmp_path):
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (64, 64, 3)).copy()
    write_image(tmp_path / "a.jpg", ramp)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - ramp).max() < 8
    write_image(tmp_path / "0.png", ramp, compress=0)
    write_image(tmp_path / "9.png", ramp, compress=9)
    np.testing.assert_array_equal(read_image(tmp_path / "0.png"), read_image(tmp_path / "9.png"))
    assert (tmp_path / "9.png").stat().st_size < (tmp_path / "0.png").stat().st_size


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    wide = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", mode="L"), wide >> 8)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (64, 32), (200, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == (32, 64)
    assert read_image(tmp_path / "a.jpg").shape == (64, 32, 3)


def bomb(width, height) -> bytes:
    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.mark.parametrize("side", [8001, 10000, 30000, 2**31 - 1])
def test_bombs_are_refused_from_the_header(tmp_path, side):
    (tmp_path / "a.png").write_bytes(bomb(side, side))
    for function in (read_image, image_size):
        with pytest.raises(InputError, match="pixels"):
            function(tmp_path / "a.png")


def test_the_limit_is_the_callers(tmp_path):
    write_image(tmp_path / "a.png", noise(10, 10))
    assert read_image(tmp_path / "a.png", max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(InputError, match="10 x 10 pixels, expected at most 99"):
        read_image(tmp_path / "a.png", max_pixels=99)


def test_what_is_no_picture_is_one_line(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "folder.png").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "gif.png")
    for name in ["empty.png", "text.png", "folder.png", "gif.png", "none.png", "a\0b.png"]:
        for function in (read_image, image_size):
            with pytest.raises(InputError) as error:
                function(tmp_path / name)
            assert "\n" not in str(error.value)


def test_damage_never_raises_anything_else(tmp_path):
    write_image(tmp_path / "a.png", noise(20, 20, 3))
    write_image(tmp_path / "b.jpg", noise(20, 20, 3))
    for seed in range(120):
        source = tmp_path / ("a.png" if seed % 2 else "b.jpg")
        path = tmp_path / ("m" + source.suffix)
        path.write_bytes(mutated(source.read_bytes(), seed))
        try:
            assert read_image(path, max_pixels=1e6).shape[-1] == 3
        except InputError as error:
            assert str(path) in str(error)


def test_cut_off_pictures_are_refused(tmp_path):
    write_image(tmp_path / "a.png", noise(40, 40, 3))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged or cut off"):
        read_image(tmp_path / "a.png")


def test_misuse_is_named(tmp_path):
    with pytest.raises(InputError, match="suffix"):
        write_image(tmp_path / "a.bmp", noise(4, 4, 3))
    for array in [np.zeros((4, 4)), noise(4, 4, 2), noise(0, 4, 3), noise(4)]:
        with pytest.raises(ValueError, match="expected uint8"):
            write_image(tmp_path / "a.png", array)
    with pytest.raises(ValueError, match="mode"):
        read_image(tmp_path / "a.png", mode="CMYK")
    assert list(tmp_path.iterdir()) == []


def test_pictures_in_memory_are_those_of_files(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    write_image(tmp_path / "x.png", picture)
    data = (tmp_path / "x.png").read_bytes()
    np.testing.assert_array_equal(decode_image(data, "x"), picture)
    for bad, limit in ((data[:60], 64e6), (b"", 64e6), (data, 30)):
        with pytest.raises(InputError, match="^x: "):
            decode_image(bad, "x", max_pixels=limit)


def test_layers_are_read_as_they_are_stored(tmp_path):
    depth = np.array([[0, 1, 255], [256, 40000, 65535]], np.uint16)
    for array in (depth, depth.astype(np.uint8), np.zeros((2, 3, 4), np.uint8)):
        write_image(tmp_path / "a.png", array)
        found = read_layer(tmp_path / "a.png")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    with pytest.raises(ValueError, match="uint16"):
        write_image(tmp_path / "a.jpg", depth)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(InputError, match="a.png"):
        read_layer(tmp_path / "a.png")
