"""Settings of the tests: a home of their own, and everything else as shipped."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="tocsin-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["TOCSIN_HOME"] = str(HOME)
os.environ.setdefault("TOCSIN_URL", "http://testserver")
os.environ.setdefault("SECRET_KEY", "only for tests")

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASES, STORAGES  # noqa: E402

# Threads must see the test's database, which one in memory does not allow.
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": HOME / "test.sqlite3"}
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"

STORAGES["staticfiles"] = {
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# WhiteNoise warns of a directory that is not there.
STATIC_ROOT = HOME / "static"
STATIC_ROOT.mkdir()
