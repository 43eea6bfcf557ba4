"""Nonsense in the documents of other programs: a capture or one line, nothing half-made."""

import json

import numpy as np
import pytest
from captures.importers.folders import adnerf, insta, metrical, nerface
from captures.nonsense import with_nonsense
from files.making import mutated

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers import heads, importing
from jaxhead.files.errors import InputError

MAKERS = {"insta": insta, "adnerf": adnerf, "radnerf": adnerf, "nerface": nerface}


def outcome(form, subject, out):
    """Whether the subject was refused; nothing but an InputError of one line may be raised."""
    try:
        importing.import_capture(form, subject, out, overwrite=True)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return True
    load_capture(out)
    return False


@pytest.fixture
def quick(monkeypatch):
    """Regions are not what is tested here."""
    found = (np.zeros(len(heads.likely_regions.__doc__), np.int32), False)
    monkeypatch.setattr(heads, "likely_regions", lambda t: (found[0][: len(t)], False))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("form", MAKERS)
def test_mutated_documents_end_in_a_capture_or_in_one_line(form, tmp_path, quick):
    subject = MAKERS[form](tmp_path / "subject")
    path = subject / "transforms_train.json"
    data = path.read_bytes()
    seen = set()
    for seed in range(50):
        random = np.random.default_rng(seed)
        if seed % 5:
            path.write_text(json.dumps(with_nonsense(json.loads(data), random)), "utf-8")
        else:
            path.write_bytes(mutated(data, seed))
        seen.add(outcome(form, subject, tmp_path / "out"))
        assert {p.name for p in tmp_path.iterdir()} <= {"subject", "out"}
    assert True in seen


def test_mutated_checkpoints_end_in_a_capture_or_in_one_line(tmp_path, monkeypatch, quick):
    class Model:
        def __init__(self, options, why):
            del options, why

        def person(self, frame):
            return np.ones(frame.shape[:2], np.float32)

    monkeypatch.setattr("jaxhead.captures.importers.metrical_tracker.Segmenter", Model)
    subject = metrical(tmp_path / "subject")
    path = subject / "checkpoint/00001.frame"
    data = path.read_bytes()
    refused = 0
    for seed in range(40):
        path.write_bytes(mutated(data, seed))
        refused += outcome("metrical-tracker", subject, tmp_path / "out")
    assert refused > 20
