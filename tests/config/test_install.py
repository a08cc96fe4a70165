import hashlib
import importlib.util
import os
import subprocess
import sys

import pytest

from config import install
from config.settings import BASE_DIR


@pytest.fixture
def venv(monkeypatch, tmp_path):
    """A .venv whose Python is this one, and a record of what was run."""
    python = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "PYTHON", python)
    venv = type("Venv", (), {"python": python, "ran": []})
    monkeypatch.setattr(install, "run", venv.ran.append)
    return venv


def make(venv):
    venv.python.parent.mkdir(parents=True)
    venv.python.symlink_to(sys.executable)


def test_unchanged_requirements_are_not_installed_again(venv, tmp_path):
    make(venv)
    lock = tmp_path / "requirements.lock"
    lock.write_text("django==5.2\n")
    stamp = tmp_path / ".venv" / ".requirements.lock"
    stamp.write_text(hashlib.sha256(lock.read_bytes()).hexdigest())

    install.install(lock)
    assert venv.ran == []

    lock.write_text("django==5.2.1\n")
    install.install(lock)
    (installed,) = venv.ran
    assert installed[-3:] == ["--require-hashes", "-r", str(lock)]
    assert stamp.read_text() == hashlib.sha256(lock.read_bytes()).hexdigest()


def test_missing_venv_module_is_said_in_one_line(venv, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SystemExit) as end:
        install.make_venv(None)

    assert "apt install python3-venv" in end.value.code
    assert "\n" not in end.value.code


def test_uv_needs_no_venv_module(venv, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    install.make_venv("/opt/uv")

    assert venv.ran[0][:2] == ["/opt/uv", "venv"]


@pytest.fixture
def old_python(tmp_path):
    """A python that runs what it is given as if it were 3.9."""
    old = tmp_path / "python3.9"
    old.write_text(
        "#!/bin/sh\n"
        f'exec {sys.executable} -c "import sys; sys.version_info = (3, 9, 2); '
        'exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    return old


def test_python_that_is_too_old_is_named(old_python):
    ended = subprocess.run(
        ["make", "python", f"PYTHON={old_python}"],
        cwd=BASE_DIR,
        # The suite itself may run under make, and that one is not this one.
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
        capture_output=True,
        text=True,
    )

    assert ended.returncode != 0
    first, *rest = ended.stderr.splitlines()
    assert first.startswith(
        f"Tocsin needs Python 3.11 or newer; {old_python} is 3.9. Name another one:"
    )
    assert all(line.startswith("make:") for line in rest)
