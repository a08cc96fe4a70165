"""Makes .venv from a lock file; needs nothing but Python, and uv if it is there.

python3 -I config/install.py requirements.lock
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
NO_VENV = (
    "This Python has no venv module. On Debian or Ubuntu: apt install python3-venv; "
    "or install uv, which needs none."
)


def install(lock: Path) -> None:
    """Bring .venv to what the lock file says; nothing is done if it is there."""
    stamp = VENV / f".{lock.name}"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if works() and stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    uv = shutil.which("uv")
    if not works():
        make_venv(uv)
    print(f"Installing {lock.name} with {'uv' if uv else 'pip'} …", flush=True)
    if uv:
        installer = [uv, "pip", "install", "--python", str(PYTHON), "--quiet"]
        # As pip does; otherwise each process would compile it all at its start.
        installer += ["--compile-bytecode"]
    else:
        with_pip()
        installer = [str(PYTHON), "-m", "pip", "install", "--quiet"]
        installer += ["--disable-pip-version-check"]
    run([*installer, "--require-hashes", "-r", str(lock)])
    stamp.write_text(wanted)


def works() -> bool:
    """Is there a .venv whose Python still runs?"""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", ""], capture_output=True).returncode == 0


def make_venv(uv: str | None) -> None:
    if uv:
        made = [uv, "venv", "--quiet", "--clear", "--python", sys.executable]
        run([*made, str(VENV)])
        return
    if not importlib.util.find_spec("venv") or not importlib.util.find_spec(
        "ensurepip"
    ):
        sys.exit(NO_VENV)
    run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def with_pip() -> None:
    """A .venv that uv has made has no pip; uv may be gone since."""
    asked = subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True)
    if asked.returncode:
        make_venv(None)


def run(command: list[str]) -> None:
    code = subprocess.run(command, cwd=HERE).returncode
    if code:
        sys.exit(f"{Path(command[0]).name} failed with code {code}; see above.")


if __name__ == "__main__":
    install(HERE / sys.argv[1])
