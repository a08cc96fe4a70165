import os
import sys

import pytest

from config.children import DEATHS, Child, KeepsDying

PULSES_ONCE = (
    "import os, time; os.write(int(os.environ['TOCSIN_PULSE_FD']), b'.'); "
    "print('begun', flush=True); time.sleep(100)"
)


@pytest.fixture
def make():
    made = []

    def make(script, stuck_after=10.0):
        command = [sys.executable, "-c", script]
        made.append(Child("child", command, stuck_after=stuck_after))
        return made[-1]

    yield make
    for child in made:
        if child.process:
            child.kill_group()
            child.process.wait()
        child.pipe.close()


def begin(child):
    """Start the child; return when it has said something."""
    child.start()
    assert child.pass_on()


def end(child):
    child.process.wait(20)
    child.pipe.close()
    child.mourn()


def test_child_that_falls_silent_is_killed_and_told_of_once(make, capfd):
    child = make(PULSES_ONCE)
    begin(child)

    for _ in range(10):
        child.end_if_stuck(1.0)
    assert child.process.poll() is None
    child.end_if_stuck(1.0)
    child.end_if_stuck(1.0)
    end(child)

    said = capfd.readouterr().err
    assert said.count("child      | silent for") == 1
    assert "it is stuck, and killed" in said
    assert "ended by SIGKILL; again in 0.25 s" in said


def test_child_that_never_began_is_not_expected_to_go_on(make):
    child = make("import time; print('here', flush=True); time.sleep(100)")
    begin(child)

    child.end_if_stuck(1000.0)
    child.end_if_stuck(1000.0)

    assert child.process.poll() is None


def test_one_that_was_stuck_may_be_so_again_and_again(make):
    child = make(PULSES_ONCE)

    for _ in range(DEATHS + 1):
        begin(child)
        child.end_if_stuck(1.0)
        child.end_if_stuck(1000.0)
        end(child)


def test_one_that_found_itself_stuck_may_do_so_again_and_again(make):
    child = make(f"raise SystemExit({os.EX_SOFTWARE})")

    for _ in range(DEATHS + 1):
        child.start()
        end(child)


def test_one_that_keeps_dying_is_given_up(make):
    child = make("raise SystemExit(3)")

    def live():
        child.start()
        end(child)

    for _ in range(DEATHS - 1):
        live()
    with pytest.raises(KeepsDying, match=r"ended 5 times .* with code 3"):
        live()
