import multiprocessing
import stat

from cryptography.fernet import Fernet

from config.keys import make_encryption_key, make_secret_key, read_or_make


def race(path, barrier, results):
    barrier.wait()
    results.put(read_or_make(path, make_secret_key))


def test_many_starting_at_once_agree_on_one_key(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    path, n = tmp_path / "home" / "secret_key", 6
    barrier, results = spawn.Barrier(n), spawn.Queue()
    racers = [
        spawn.Process(target=race, args=(path, barrier, results)) for _ in "x" * n
    ]
    for racer in racers:
        racer.start()

    keys = {results.get(timeout=60) for _ in racers}
    for racer in racers:
        racer.join()
    results.close()
    results.join_thread()

    assert len(keys) == 1
    assert [p.name for p in path.parent.iterdir()] == ["secret_key"]


def test_key_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "home" / "secret_key"

    key = read_or_make(path, make_secret_key)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_or_make(path, make_secret_key) == key


def test_key_that_was_put_there_is_kept(tmp_path):
    (tmp_path / "secret_key").write_text("by hand\n")

    assert read_or_make(tmp_path / "secret_key", make_secret_key) == "by hand"


def test_encryption_key_encrypts():
    fernet = Fernet(make_encryption_key())

    assert fernet.decrypt(fernet.encrypt(b"word")) == b"word"
