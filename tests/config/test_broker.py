import json
import multiprocessing
import os
import time
from queue import Empty

import pytest
from kombu import Connection

import config.broker  # registers doorbell://


def connect(folder):
    return Connection(
        "doorbell://localhost",
        transport_options={"folder": str(folder), "polling_interval": 0.01},
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
