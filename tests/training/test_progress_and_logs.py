import errno
import io
import json
import os
import signal

import pytest

from jaxhead.files.errors import InputError
from jaxhead.training import metrics_log
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.progress import Progress, duration

TIMES = [(0, "0 s"), (59.4, "59 s"), (61, "1:01"), (3723, "1:02:03")]


class Full(io.StringIO):
    def flush(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("seconds, text", TIMES)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = Progress(stream=stream, every=0.0)
    progress.start("fit", 0, 10)
    progress.update(5, 10, 2.5, 0.125)
    progress.say("a line")
    progress.stop()
    assert stream.getvalue() == "fit 5/10: 2.5 steps/s, 2 s left, loss 0.125\na line\n"


def test_lines_are_rare_but_the_last_one_comes():
    stream = io.StringIO()
    progress = Progress(stream=stream, every=1000.0)
    progress.start("fit", 0, 10)
    for step in range(1, 11):
        progress.update(step, 10, 1.0, None)
    assert stream.getvalue().count("\n") == 1 and "10/10" in stream.getvalue()


def test_a_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.start("fit", 0, 10)
    progress.update(10, 10, 2.0, 0.5)
    progress.say("saved [1/2]")
    progress.stop()
    assert "10/10" in stream.getvalue() and "saved [1/2]" in stream.getvalue()


def test_quiet_is_silent():
    stream = Terminal()
    progress = Progress(quiet=True, stream=stream)
    progress.start("fit", 0, 1)
    progress.update(1, 1, 1.0, None)
    progress.say("x")
    progress.stop()
    assert stream.getvalue() == ""


def open_log(folder, step, stage="b", say=print):
    return metrics_log.MetricsLog(folder, stage=stage, order=("a", "b"), step=step, say=say)


def test_a_resumed_log_keeps_earlier_stages_and_steps_only(tmp_path):
    log = open_log(tmp_path, 0, "a")
    log.metrics(5, {"loss": 1.0})
    log.close()
    log = open_log(tmp_path, 0)
    for step in (1, 2, 3):
        log.metrics(step, {"loss": step / 2, "term": float("nan")})
        log.times(step, {"seconds": 0.1})
    log.close()
    file = tmp_path / "metrics.jsonl"
    with file.open("a") as end:
        end.write('{"stage": "b", "st')  # killed in the middle of a line
    open_log(tmp_path, 2).close()
    lines = [json.loads(line) for line in file.open()]
    assert [(x["stage"], x["step"]) for x in lines] == [("a", 5), ("b", 1), ("b", 2)]
    assert lines[1] == {"stage": "b", "step": 1, "loss": 0.5, "term": "nan"}
    assert len((tmp_path / "times.jsonl").read_text().splitlines()) == 2


def test_tensorboard_events_can_be_read(tmp_path):
    from tensorboardX.proto import event_pb2

    log = open_log(tmp_path, 0)
    log.metrics(7, {"loss": 0.25})
    log.close()
    (file,) = (tmp_path / "tensorboard" / "b").iterdir()
    data, events = file.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    assert events[-1].step == 7 and events[-1].summary.value[0].tag == "loss"
    assert events[-1].summary.value[0].simple_value == 0.25
    assert any(event.session_log.status == event_pb2.SessionLog.START for event in events)


def test_without_tensorboard_one_line_says_so_and_metrics_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_log.importlib.util, "find_spec", lambda name: None)
    said: list[str] = []
    log = open_log(tmp_path, 0, say=said.append)
    log.metrics(1, {"loss": 1.0})
    log.flush()
    log.close()
    assert said == ["b: no TensorBoard events, as tensorboardX is not installed"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_a_log_that_cannot_be_written_is_an_input_error(tmp_path):
    log = open_log(tmp_path, 0)
    log._metrics.close()
    log._metrics = Full()
    log.metrics(1, {"loss": 1.0})
    with pytest.raises(InputError, match="metrics.jsonl.*no space"):
        log.flush()
    log.close()


def test_signals_are_noted_and_a_second_interrupt_is_obeyed():
    former = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        assert interrupts.name is None
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former
