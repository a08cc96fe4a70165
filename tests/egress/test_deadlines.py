import os
import threading
import time
import warnings

from egress.deadlines import Deadline, Reaper, deadline


def test_what_takes_too_long_is_cut_on_another_thread():
    cut, by = threading.Event(), []

    with deadline(0.01, lambda: (by.append(threading.get_ident()), cut.set())):
        assert cut.wait(10)

    assert by != [threading.get_ident()]


def test_what_is_over_in_time_is_left_alone():
    late, cut = threading.Event(), []

    with deadline(0.05, lambda: cut.append("early")):
        pass
    with deadline(0.1, late.set):
        assert late.wait(10)

    assert cut == []


def test_an_earlier_deadline_is_kept_first():
    first, order = threading.Event(), []

    with deadline(60, lambda: order.append("late")), deadline(0.01, first.set):
        assert first.wait(10)

    assert order == []


def test_one_that_raises_keeps_no_other_from_being_cut(caplog):
    cut = threading.Event()

    with deadline(0.01, lambda: 1 / 0), deadline(0.05, cut.set):
        assert cut.wait(10)

    assert "A deadline could not be kept" in caplog.text


def test_those_that_are_over_do_not_pile_up():
    reaper = Reaper()
    for _ in range(3 * Reaper.MOST):
        over = Deadline(at=time.monotonic() + 3600, cut=lambda: None)
        over.is_over = True
        reaper.add(over)

    assert len(reaper._heap) <= Reaper.MOST


def test_child_process_keeps_deadlines_of_its_own():
    with deadline(0.01, lambda: None):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # newer Pythons warn of threads: they are the point
        pid = os.fork()
    if pid == 0:
        cut = threading.Event()
        with deadline(0.01, cut.set):
            os._exit(0 if cut.wait(10) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
