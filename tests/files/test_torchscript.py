"""TorchScript archives: a state dict without running anything; what asks for more is refused."""

import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from goldens_reader import fill

from jaxhead.files.errors import InputError
from jaxhead.files.torchscript import is_torchscript, read_torchscript
from jaxhead.files.weights import read_weights

ARCHIVE = pathlib.Path(__file__).parent / "checkpoints" / "script.pt"
SHAPES = {
    "scale": (), "visual.count": (4,), "visual.layer.weight": (2, 3), "visual.layer.bias": (2,),
    "blocks.0.count": (4,), "blocks.0.layer.weight": (2, 3), "blocks.0.layer.bias": (2,),
}  # fmt: skip


def test_names_and_numbers_are_those_of_the_state_dict():
    assert is_torchscript(ARCHIVE)
    found = read_torchscript(ARCHIVE)
    assert {name: value.shape for name, value in found.items()} == SHAPES
    for name, value in found.items():
        wanted = np.asarray(fill(name, value.shape, "prior")).astype(value.dtype)
        np.testing.assert_array_equal(value, wanted)
    assert found["visual.layer.weight"].dtype == np.float16
    assert read_weights(ARCHIVE).keys() == found.keys()


def rewritten(path, data):
    """The archive with another pickle."""
    with zipfile.ZipFile(ARCHIVE) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith("/data.pkl") else old.read(name))


class Attack:
    def __reduce__(self):
        return (print, ("it ran",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(Attack(), 2), "which data has no need of"),
        (b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00acos\nsystem\nub.", "refused"),
        (pickle.dumps([1, 2], 2), "holds a list, expected a module"),
        (b"\x80\x02c__torch__", "damaged or not"),
    ],
)
def test_what_is_no_module_of_numbers_is_refused_by_file(tmp_path, capsys, data, message):
    rewritten(tmp_path / "bad.pt", data)
    with pytest.raises(InputError, match=f"bad.pt: .*{message}") as error:
        read_weights(tmp_path / "bad.pt")
    assert "\n" not in str(error.value) and "it ran" not in capsys.readouterr().out


def test_other_files_are_no_archives(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"PK but no archive")
    assert not is_torchscript(tmp_path / "a.pt") and not is_torchscript(tmp_path / "none.pt")
    assert not is_torchscript(ARCHIVE.with_name("zip.pth"))


def test_a_state_dict_may_lie_in_a_dictionary_and_other_things_are_refused():
    assert set(read_weights(ARCHIVE.with_name("zip.pth")))
