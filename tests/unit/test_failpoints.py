"""Fail points: nothing without the setting, and exactly what was armed with it."""

import os
import signal
import subprocess
import sys

import pytest

from chatapp import failpoints
from chatapp.failpoints import FailPointHit
from config.settings import Settings, SettingsError

PASS = "import sys; from chatapp.failpoints import *; configure(sys.argv[1]); hit('turn.claimed'); print('alive')"


@pytest.fixture
def folder(tmp_path):
    """A folder in which points are armed."""
    failpoints.configure(str(tmp_path))
    yield tmp_path
    failpoints.configure(None)


def test_a_point_that_is_off_does_nothing(tmp_path):
    """Even when its file is there."""
    (tmp_path / "turn.claimed").write_text("raise")
    failpoints.configure(None)
    failpoints.hit("turn.claimed")
    assert (tmp_path / "turn.claimed").exists()


def test_a_point_that_is_not_armed_does_nothing(folder):
    """Another one is."""
    (folder / "turn.stored").write_text("raise")
    failpoints.hit("turn.claimed")


def test_an_armed_point_acts_once_and_says_so(folder):
    """The file is taken away, and what is left is the proof."""
    (folder / "turn.claimed").write_text("raise")
    with pytest.raises(FailPointHit):
        failpoints.hit("turn.claimed")
    failpoints.hit("turn.claimed")
    assert [f.name for f in folder.iterdir()] == ["turn.claimed.hit"]


def test_a_point_can_act_at_the_kth_time(folder):
    """Counted in this process, from when it was armed."""
    failpoints.hit("turn.token")
    (folder / "turn.token").write_text("raise@3")
    failpoints.hit("turn.token")
    failpoints.hit("turn.token")
    with pytest.raises(FailPointHit):
        failpoints.hit("turn.token")


def test_kill_kills(tmp_path):
    """SIGKILL, and the proof names the process."""
    (tmp_path / "turn.claimed").write_text("kill")
    with subprocess.Popen([sys.executable, "-c", PASS, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=20)[0] == b""
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "turn.claimed.hit").read_text() == str(process.pid)


def test_stop_stops_until_it_is_continued(tmp_path):
    """SIGSTOP: nothing of it runs, and then all of it does."""
    (tmp_path / "turn.claimed").write_text("stop")
    with subprocess.Popen([sys.executable, "-c", PASS, str(tmp_path)], stdout=subprocess.PIPE) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=20)[0] == b"alive\n"


def test_production_refuses_them():
    """The setting names the problem."""
    with pytest.raises(SettingsError, match="FAIL_POINTS"):
        Settings.model_validate({"env": "production", "fail_points": "/tmp/armed"})
