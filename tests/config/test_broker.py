import json
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from queue import Empty

import pytest
from kombu import Connection

import config.broker  # registers doorbell://


def connect(folder):
    """A connection that hears, because it hardly ever looks by itself."""
    return Connection(
        "doorbell://localhost",
        transport_options={"folder": str(folder), "polling_interval": 60},
    )


def produce(folder, name, n):
    with connect(folder) as connection:
        queue = connection.SimpleQueue("bells")
        for i in range(n):
            while len(os.listdir(folder / "bells")) > 100:
                time.sleep(0.002)  # more than that many would be dropped
            queue.put({"id": f"{name}:{i}", "body": "x" * 5000})
        queue.close()


def consume(folder, results):
    with connect(folder) as connection:
        queue, got = connection.SimpleQueue("bells"), []
        while True:
            try:
                message = queue.get(timeout=2)
            except Empty:
                break
            got.append((message.payload["id"], len(message.payload["body"])))
            message.ack()
        queue.close()
    results.put(got)


def listen(folder, ready):
    """Wait for a message until killed."""
    with connect(folder) as connection:
        queue = connection.SimpleQueue("bells")
        with suppress(Empty):
            queue.get(timeout=0.01)  # it begins to listen at the first look
        ready.set()
        queue.get()


def fill(pipe):
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"!" * 4096)


@pytest.fixture
def channel(tmp_path):
    with connect(tmp_path) as connection:
        yield connection.default_channel


def test_every_message_reaches_one_consumer_whole(tmp_path):
    spawn, each = multiprocessing.get_context("spawn"), 150
    results = spawn.Queue()
    (tmp_path / "bells").mkdir()
    consumers = [spawn.Process(target=consume, args=(tmp_path, results)) for _ in "ab"]
    producers = [
        spawn.Process(target=produce, args=(tmp_path, name, each)) for name in "xyz"
    ]
    for process in (*producers, *consumers):
        process.start()

    got = [answer for _ in consumers for answer in results.get(timeout=120)]
    for process in (*producers, *consumers):
        process.join()
    results.close()
    results.join_thread()

    assert sorted(got) == sorted(
        (f"{name}:{i}", 5000) for name in "xyz" for i in range(each)
    )
    assert os.listdir(tmp_path / "bells") == []


def test_half_written_message_is_not_seen(channel):
    folder = channel.queue_folder("bells")
    (folder / ".0000-half").write_text('{"half')

    with pytest.raises(Empty):
        channel._get("bells")
    assert channel._size("bells") == 0


def test_messages_come_in_the_order_they_went(channel):
    for n in range(5):
        channel._put("bells", {"n": n})

    assert [channel._get("bells")["n"] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_full_queue_drops_what_comes(channel, monkeypatch):
    monkeypatch.setattr(config.broker, "MOST_WAITING", 3)
    for n in range(10):
        channel._put("bells", {"n": n})

    assert channel._size("bells") == 3
    assert [channel._get("bells")["n"] for _ in range(3)] == [0, 1, 2]


def test_purge_empties_the_queue(channel):
    for n in range(3):
        channel._put("bells", {"n": n})

    assert channel._purge("bells") == 3
    assert channel._size("bells") == 0


def test_folder_is_for_its_owner_alone(channel):
    assert channel.queue_folder("bells").stat().st_mode & 0o777 == 0o700


def test_message_is_json(channel):
    channel._put("bells", {"n": 1})
    (path,) = channel.queue_folder("bells").iterdir()

    assert json.loads(path.read_text()) == {"n": 1}


def test_left_overs_of_killed_workers_do_not_fill_the_queue(tmp_path):
    folder = tmp_path / "broker" / "deliveries"
    folder.mkdir(parents=True)
    for n in range(config.broker.MOST_WAITING + 1):
        (folder / f".left-{n}").write_text("{}")
        os.utime(folder / f".left-{n}", (0, 0))
    options = {"folder": str(tmp_path / "broker")}

    with Connection("doorbell://localhost", transport_options=options) as connection:
        queue = connection.SimpleQueue("deliveries")
        queue.put({"look": "now"})
        assert queue.get(timeout=5).payload == {"look": "now"}
        queue.close()

    assert not list(folder.glob(".left-*"))


def test_messages_are_heard_at_once(tmp_path):
    answered = threading.Semaphore(0)

    def answer():
        with connect(tmp_path) as connection:
            queue = connection.SimpleQueue("bells")
            for _ in range(20):
                queue.get(timeout=60).ack()
                answered.release()
            queue.close()

    consumer = threading.Thread(target=answer)
    consumer.start()
    started = time.monotonic()
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("bells")
        for n in range(20):
            queue.put({"n": n})
            assert answered.acquire(timeout=60)
        queue.close()
    consumer.join(60)

    assert time.monotonic() - started < 20
    assert os.listdir(tmp_path / "bells") == []


def test_ear_of_a_killed_worker_is_taken_away(tmp_path, channel):
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    worker = spawn.Process(target=listen, args=(tmp_path, ready), daemon=True)
    worker.start()
    assert ready.wait(60)
    (ear,) = (tmp_path / "bells").glob(".ear-*")
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(20)

    channel._put("bells", {"n": 1})

    assert not ear.exists()
    assert channel._get("bells") == {"n": 1}


def test_ear_of_a_killed_worker_is_swept_out_by_the_next(channel):
    ear = channel.queue_folder("bells") / ".ear-1-dead"
    os.mkfifo(ear)

    channel._new_queue("bells")

    assert not ear.exists()


def test_ear_of_a_living_worker_stays(tmp_path, channel):
    ear = config.broker.Ear(channel.queue_folder("bells"))
    try:
        (path,) = (tmp_path / "bells").glob(".ear-*")
        os.utime(path, (0, 0))
        channel._new_queue("bells")
        assert path.exists()
    finally:
        ear.close()
    assert not path.exists()


def test_worker_that_does_not_listen_stops_nobody_from_ringing(channel):
    ear = config.broker.Ear(channel.queue_folder("bells"))
    try:
        fill(ear.file)

        channel._put("bells", {"n": 1})
    finally:
        ear.close()

    assert channel._size("bells") == 1


def test_where_there_can_be_no_fifo_messages_are_seen(tmp_path, monkeypatch):
    def mkfifo(*args):
        raise PermissionError("This file system has none")

    monkeypatch.setattr(os, "mkfifo", mkfifo)
    options = {"folder": str(tmp_path), "polling_interval": 0.01}
    got = []

    def wait():
        with Connection("doorbell://", transport_options=options) as connection:
            queue = connection.SimpleQueue("bells")
            got.append(queue.get(timeout=60).payload)
            queue.close()

    consumer = threading.Thread(target=wait)
    consumer.start()
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("bells")
        queue.put({"n": 1})
        queue.close()
    consumer.join(60)

    assert got == [{"n": 1}]


def test_without_a_message_waiting_ends_in_time(tmp_path):
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("bells")
        with pytest.raises(Empty):
            queue.get(timeout=0.05)
        queue.close()


def test_process_that_ends_waits_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(config.broker.Transport, "is_leaving", False)
    listening, ended = threading.Event(), threading.Event()

    def wait():
        with connect(tmp_path) as connection:
            queue = connection.SimpleQueue("bells")
            listening.set()
            with pytest.raises(Empty):
                queue.get(timeout=120)
            ended.set()
            queue.close()

    consumer = threading.Thread(target=wait)
    consumer.start()
    assert listening.wait(60)
    config.broker.leave()

    assert ended.wait(60)
    consumer.join(60)
