"""All settings, each deploy difference an environment variable.

Nothing has to be set: without any variable Tocsin runs on one machine, from
SQLite and files in TOCSIN_HOME (./var).
"""

from pathlib import Path
from urllib.parse import urlsplit

from .environment import Environment
from .keys import make_encryption_key, make_secret_key, read_or_make

env = Environment()
BASE_DIR = Path(__file__).resolve().parent.parent
TOCSIN_HOME = env.folder("TOCSIN_HOME", default=BASE_DIR / "var")

# Core

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY", default="") or read_or_make(
    TOCSIN_HOME / "secret_key", make_secret_key
)
# The first key encrypts, all of them decrypt: to rotate, put the new one first.
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[]) or read_or_make(
    TOCSIN_HOME / "encryption_keys", make_encryption_key
).split(",")

HOST = env("HOST", default="127.0.0.1")
PORT = env.port("PORT", default=8000)
TOCSIN_URL = env.site("TOCSIN_URL", default=f"http://127.0.0.1:{PORT}")
_url = urlsplit(TOCSIN_URL)
ALLOWED_HOSTS = list(
    dict.fromkeys(
        [
            *(_url.hostname or "", HOST, "127.0.0.1", "localhost", "[::1]"),
            *env.list("ALLOWED_HOSTS", default=[]),
        ]
    )
)
CSRF_TRUSTED_ORIGINS = [f"{_url.scheme}://{_url.netloc}"]

INSTALLED_APPS = [
    "config.apps.TocsinAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_filters",
    "anymail",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "access",
    "outbox",
    "monitors",
    "alerting",
    "incidents",
    "statuspages",
    "subscriptions",
    "config",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# Database

if env("DATABASE_URL", default=""):
    DATABASES = {"default": env.database("DATABASE_URL")}
    if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
        DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
            "min_size": 1,
            "max_size": env.int("DATABASE_POOL", default=12),
            "timeout": 20,
        }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": TOCSIN_HOME / "tocsin.sqlite3",
        }
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE takes the write lock at BEGIN: a transaction that reads first
    # and writes later would fail at once with "database is locked".
    DATABASES["default"]["CONN_MAX_AGE"] = None
    # Opening the file anew for each task would be half of an idle worker's work.
    CELERY_DB_REUSE_MAX = 10_000
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
            "PRAGMA cache_size=-32000; PRAGMA temp_store=MEMORY;"
        ),
    }

# Redis serves as broker and cache; without it a directory is the broker and the
# database the cache, because the memory of one process is not seen by another.
REDIS_URL = env.redis("REDIS_URL")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
    }
    if REDIS_URL
    else {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": TOCSIN_HOME / "cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}

# Celery: a doorbell. All work is a row with a due time (see docs/architecture.md).

CELERY_BROKER_URL = REDIS_URL or "doorbell://localhost"
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {
        "visibility_timeout": 60,
        "socket_connect_timeout": 2,
        "socket_timeout": 10,
        # A dead broker costs whoever rings a moment, not six seconds.
        "max_retries": 1,
        "interval_start": 0,
    }
    if REDIS_URL
    else {"folder": str(TOCSIN_HOME / "broker")}
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = bool(REDIS_URL)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BEAT_SCHEDULER = "config.schedule:Schedule"
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "deliveries"
CELERY_TASK_ROUTES = {
    # What takes long must not be beside the engine: one process, one lock.
    "monitors.tasks.upkeep": {"queue": "deliveries"},
    "monitors.tasks.prune": {"queue": "deliveries"},
    "monitors.tasks.*": {"queue": "checks"},
    "alerting.tasks.prune": {"queue": "deliveries"},
    "alerting.tasks.*": {"queue": "checks"},
}


# Each worker runs the tasks of its queues by itself this often, whoever rings:
# with every message lost, nothing is later than this.
WATCH_SECONDS = {
    "monitors.tasks.tick": 1.0,
    "monitors.tasks.expire": 5.0,
    "alerting.tasks.sweep": 1.0,
    "incidents.tasks.sweep": 5.0,
    "incidents.tasks.tell_updates": 5.0,
    "incidents.tasks.keep_maintenances": 1.0,
    "outbox.tasks.deliver_due": 1.0,
    "subscriptions.tasks.fan_out_due": 1.0,
    "statuspages.tasks.build_pages": 1.0,
    "subscriptions.tasks.forget": 3600.0,
    "monitors.tasks.upkeep": 30.0,
    "monitors.tasks.prune": 600.0,
    "outbox.tasks.prune": 3600.0,
    "alerting.tasks.prune": 3600.0,
}


def _rung(task: str) -> dict[str, object]:
    """The clock rings for it, too, but not often: a bell costs more than a look."""
    seconds = max(30, round(WATCH_SECONDS[task]))
    return {
        "task": task,
        "schedule": float(seconds),
        # Nobody has answered before the next one rings: it is worth nothing.
        "options": {"expire_seconds": seconds},
    }


CELERY_BEAT_SCHEDULE = {
    "start the checks that fall due": _rung("monitors.tasks.tick"),
    "expire what was not watched": _rung("monitors.tasks.expire"),
    "decide what was left undecided": _rung("alerting.tasks.sweep"),
    "publish drafts, open what was refused": _rung("incidents.tasks.sweep"),
    "tell what was scheduled": _rung("incidents.tasks.tell_updates"),
    "begin and end maintenances": _rung("incidents.tasks.keep_maintenances"),
    "deliver what is due": _rung("outbox.tasks.deliver_due"),
    "fan news out": _rung("subscriptions.tasks.fan_out_due"),
    "build the pages": _rung("statuspages.tasks.build_pages"),
    "forget who never confirmed": _rung("subscriptions.tasks.forget"),
    "keep history in shape": _rung("monitors.tasks.upkeep"),
    "prune old results": _rung("monitors.tasks.prune"),
    "prune old messages": _rung("outbox.tasks.prune"),
    "prune old decisions": _rung("alerting.tasks.prune"),
}

# Checks. When none of these addresses answers, it is our own line that is down.

WATCHDOG_URLS = env.list("WATCHDOG_URLS", default=[])
# Who checks, where results say so; the host's name if it is not given.
WORKER_NAME = env("WORKER_NAME", default="")

# Timings that tests and operators may want to change; all in seconds.

CHECK_LEASE_SECONDS = env.float("CHECK_LEASE_SECONDS", default=30.0)
DELIVERY_LEASE_SECONDS = env.float("DELIVERY_LEASE_SECONDS", default=60.0)
# A worker that has stood still for so long is replaced.
WORKER_STUCK_SECONDS = env.float("WORKER_STUCK_SECONDS", default=60.0)
RESULT_RETENTION_DAYS = env.int("RESULT_RETENTION_DAYS", default=30)
LATENCY_HOURS_DAYS = env.int("LATENCY_HOURS_DAYS", default=400)
MESSAGE_RETENTION_DAYS = env.int("MESSAGE_RETENTION_DAYS", default=90)
DECISION_RETENTION_DAYS = env.int("DECISION_RETENTION_DAYS", default=90)

# Mail

DEFAULT_FROM_EMAIL = env(
    "DEFAULT_FROM_EMAIL", default=f"Tocsin <tocsin@{_url.hostname or 'localhost'}>"
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
EMAIL_TIMEOUT = 10
if env("EMAIL_URL", default=""):
    globals().update(env.mail("EMAIL_URL"))
elif env("ANYMAIL_PROVIDER", default=""):
    EMAIL_BACKEND = f"anymail.backends.{env('ANYMAIL_PROVIDER')}.EmailBackend"
    # A JSON object of Anymail's own settings, such as {"MAILGUN_API_KEY": "…"}.
    ANYMAIL = env.json("ANYMAIL", default={})
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = TOCSIN_HOME / "mail"

# Time and language

TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
LANGUAGE_CODE = "en-gb"

# Static files

STATIC_URL = "static/"
STATIC_ROOT = Path(env("STATIC_ROOT", default=str(TOCSIN_HOME / "static")))
STATICFILES_DIRS: list[Path] = []
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "config.static.ManifestStorage"
    },
}

# Security

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
if _url.scheme == "https":
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "access.permissions.BearerAuthentication",
        "access.permissions.OperatorAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["access.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.api.StrictJSON"],
    "DEFAULT_PAGINATION_CLASS": "config.api.CursorPages",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.api.problem",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tocsin",
    "DESCRIPTION": "Monitors, alerts, incidents and the messages about them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "OAS_VERSION": "3.1.0",
    "ENUM_NAME_OVERRIDES": {
        "MonitorStatus": "monitors.models.Status",
        "MonitorKind": "monitors.models.kind_choices",
        "ChannelKind": "outbox.models.kind_choices",
        "AlertState": "alerting.models.Alert.State",
        "AlertSeverity": "alerting.models.AlertRule.Severity",
        "IncidentState": "incidents.models.State",
        "IncidentSeverity": "monitors.api.SEVERITIES",
        "MessageState": "outbox.models.Message.State",
        "SubscriberState": "subscriptions.models.Subscriber.State",
        "OccurrenceState": "incidents.models.Occurrence.State",
        "MaintenanceImpactLevel": "incidents.models.MaintenanceImpact.Level",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "access.schema.describe_problems",
    ],
}

# Logs: one line a record on standard error; secrets never reach a record.

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {
        "celery": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
    },
}
