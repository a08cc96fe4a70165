"""Settings of gunicorn: `gunicorn --config config/web.py`."""

import gc
import os
from typing import Any

wsgi_app = "config.wsgi"
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_PROCESSES", "1"))
threads = int(os.environ.get("WEB_THREADS", "8"))
timeout = 60
graceful_timeout = 5
keepalive = 5
control_socket_disable = True
loglevel = "warning"


def post_worker_init(worker: Any) -> None:
    """Keep what was loaded out of every look for garbage, and look less often.

    Each costs time in the midst of some request, the more so the more is loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
