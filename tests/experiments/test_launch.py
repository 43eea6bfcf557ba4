"""The launch examples, as far as one machine shows: their syntax, the commands that they give, and
SLURM's environment made by hand for two processes.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "experiments" / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
TOY = ROOT / "tests" / "training" / "toy_recipes.py"

SRUN = """#!/usr/bin/env bash
# Two tasks on this machine, with what SLURM tells each of them.
[ "$1" = "--kill-on-bad-exit=1" ] || exit 9
shift
printf '%s\\n' "$@" > "$SEEN"
export SLURM_JOB_ID={job} SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & tasks="$tasks $!"
done
for task in $tasks; do wait "$task" || code=$?; done
exit "${{code:-0}}"
"""


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(script, *argv, **environment):
    return subprocess.run(
        ["bash", str(LAUNCH / script), *map(str, argv)], env=os.environ | environment, text=True,
        capture_output=True, timeout=200,
    )  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_say_how_they_are_used(script):
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    result = run(script.name)
    assert result.returncode == 2 and result.stderr.startswith("usage: ")


@pytest.mark.long
def test_two_slurm_tasks_are_one_training(tmp_path):
    program(tmp_path / "srun", SRUN.format(job=os.getpid()))
    # Stands for `jaxhead train SYSTEM CAPTURE --out RUN --distributed ...`, with a small recipe.
    toy = program(tmp_path / "toy", (
        f'#!/usr/bin/env bash\nexec "{sys.executable}" "{TOY}" "$5" --recipe everything '
        '--devices 2 "${@:6}"\n'
    ))  # fmt: skip
    result = run(
        "slurm.sh", "avatar", "a talk", tmp_path / "my run", "--steps", "6", JAXHEAD=str(toy),
        PATH=f"{tmp_path}:{os.environ['PATH']}", SEEN=str(tmp_path / "seen"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    words = (tmp_path / "seen").read_text().splitlines()
    assert words[1:] == ["train", "avatar", "a talk", "--out", str(tmp_path / "my run"),
                         "--distributed", "--steps", "6"]  # fmt: skip
    assert "2 devices in each of 2 processes" in result.stderr
    lines = [json.loads(x) for x in (tmp_path / "my run" / "metrics.jsonl").open()]
    assert [x["step"] for x in lines] == [1, 2, 3, 4, 5, 6]


def test_a_tpu_slice_gets_one_command_that_survives_its_shell(tmp_path):
    gcloud = program(tmp_path / "gcloud", '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    result = run("tpu_pod.sh", "slice", "zone", "avatar", "/mnt/a talk", "/mnt/run", "--steps", "6",
                 GCLOUD=str(gcloud))  # fmt: skip
    words = result.stdout.splitlines()
    assert words[:5] == ["compute", "tpus", "tpu-vm", "ssh", "slice"]
    assert "--worker=all" in words and words[-2] == "--command"
    echoed = subprocess.run(["bash", "-c", f"printf '%s\\n' {words[-1]}"], text=True,
                            capture_output=True).stdout.splitlines()  # fmt: skip
    assert echoed == ["jaxhead", "train", "avatar", "/mnt/a talk", "--out", "/mnt/run",
                      "--distributed", "--steps", "6"]  # fmt: skip
