"""What errors that frames and neighbouring landmarks share leave of the frames."""

import numpy as np
import pytest

from experiments.benchmarks import landmark_errors
from experiments.benchmarks.flags import run_module
from experiments.benchmarks.landmark_errors import common_errors, report
from jaxhead.files.errors import InputError

random = np.random.default_rng(0)
FACE = random.uniform(-0.08, 0.08, (400, 3))
ALL = np.ones(400)
SIZE = np.ptp(FACE[:, :2], axis=0).max()


def people(errors):
    return FACE + np.pad(errors * SIZE, ((0, 0), (0, 0), (0, 1)))


def test_errors_of_each_landmark_alone_count_by_their_size():
    found = common_errors(people(random.normal(0, 0.005, (400, 400, 2))), ALL, 0.01)
    np.testing.assert_allclose(found["face"], SIZE, rtol=0.05)
    np.testing.assert_allclose(found["deviation"], 0.005, rtol=0.02)
    np.testing.assert_allclose(list(found["frames"].values()), 4.0, rtol=0.15)


def test_errors_that_neighbours_share_leave_less_in_smooth_fields():
    # 0.01 along one field of unit size is 0.01 / 20 per landmark of 400.
    slope = FACE[:, :1] - FACE[:, :1].mean()
    field = slope / np.linalg.norm(slope)
    found = common_errors(people(0.01 * random.normal(size=(2000, 1, 2)) * field), ALL, 0.01)
    np.testing.assert_allclose(found["deviation"], 0.01 / 20, rtol=0.05)
    assert found["frames"][0] > 100
    # One of the three fields of degree 1 has it all.
    np.testing.assert_allclose(found["frames"][1], 3.0, rtol=0.1)
    assert found["frames"][1] < found["frames"][2] < found["frames"][5]


def test_landmarks_that_are_not_trusted_do_not_matter():
    errors = random.normal(0, 0.005, (400, 400, 2))
    trust = np.where(np.arange(400) < 200, 1.0, 1e-9)
    few = common_errors(people(errors), trust, 0.01)
    errors[:, 200:] *= 20
    many = common_errors(people(errors), trust, 0.01)
    np.testing.assert_allclose(many["deviation"], few["deviation"], rtol=0.02)
    for degree, frames in few["frames"].items():
        np.testing.assert_allclose(many["frames"][degree], frames, rtol=0.05)


def test_the_table_names_every_degree_and_one_person_is_refused():
    found = common_errors(people(random.normal(0, 0.005, (4, 400, 2))), ALL, 0.01)
    table = report({"trusted": found, "alike": found})
    assert "degree 5" in table and "all alike" in table
    with pytest.raises(InputError, match="1 people, expected at least two"):
        common_errors(FACE[None], ALL, 0.01)


def test_people_are_seeds(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        landmark_errors, "run", lambda arguments: asked.append(arguments.flags.people) or 0
    )

    def main(*argv):
        return run_module(
            "experiments.benchmarks.landmark_errors", landmark_errors.__doc__,
            landmark_errors._define, landmark_errors.run, argv=argv,
        )  # fmt: skip

    assert main("--people", "1", "--people", "20") == 0 and main() == 0
    assert asked == [[1, 20], [*range(1, 9)]]
    for wrong in ("", "-1", "x", "1.5"):
        assert main(f"--people={wrong}") != 0
        assert "people" in capsys.readouterr().err
    assert len(asked) == 2
