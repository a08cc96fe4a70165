import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from config.sentinel import PULSE, Sentinel, pulse_from_parent
from config.settings import BASE_DIR


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_process_whose_engine_stands_still_ends_and_says_why():
    ended = run(
        "import threading\n"
        "from config.sentinel import Sentinel\n"
        "def hang_here():\n"
        "    threading.Event().wait(100)\n"
        "Sentinel('The engine', lambda: 99.0, limit=0.2).start()\n"
        "hang_here()\n"
    )

    assert ended.returncode == os.EX_SOFTWARE
    assert "The engine has stood still for 99 seconds" in ended.stderr
    assert "in hang_here" in ended.stderr


def test_process_that_was_itself_stopped_for_a_while_goes_on():
    ended = run(
        "import itertools, os\n"
        "from config.sentinel import Sentinel\n"
        "ours, theirs = os.pipe()\n"
        "still = itertools.cycle([99.0, 0.0]).__next__\n"
        "Sentinel('The engine', still, limit=0.2, pulse=theirs).start()\n"
        "for _ in range(10):\n"
        "    assert os.read(ours, 1)\n"
    )

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.fixture
def pipe():
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def post(pipe):
    posted = []

    def post(still_for):
        sentinel = Sentinel("The engine", still_for, limit=0.1, pulse=pipe[1])
        posted.append(sentinel)
        sentinel.start()

    yield post
    for sentinel in posted:
        sentinel.stopped.set()
        sentinel.thread.join(20)


def test_sentinel_that_cannot_tell_stays_at_its_post(post, pipe, caplog):
    def still_for():
        raise ValueError("Something is broken")

    post(still_for)

    for _ in range(5):
        assert os.read(pipe[0], 1)
    assert "The engine cannot be asked whether it moves" in caplog.text


def test_sentinel_does_not_wait_for_a_parent_that_does_not_listen(post, pipe):
    os.set_blocking(pipe[1], False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe[1], b"." * 4096)
    looked = threading.Semaphore(0)

    def still_for():
        looked.release()
        return 0.0

    post(still_for)

    for _ in range(3):
        assert looked.acquire(timeout=20)


def test_pulse_is_not_handed_on(pipe, monkeypatch):
    os.set_inheritable(pipe[1], True)
    monkeypatch.setenv(PULSE, str(pipe[1]))

    assert pulse_from_parent() == pipe[1]

    assert not os.get_inheritable(pipe[1])
    assert not os.get_blocking(pipe[1])
    assert PULSE not in os.environ
    assert pulse_from_parent() is None
