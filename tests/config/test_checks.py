import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from config import checks
from config.environment import Environment


def said(check):
    return [message.msg for message in check()]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("status.example.com", "begin with http:// or https:// and a host name"),
        ("ftp://status.example.com", "begin with http:// or https:// and a host name"),
        ("https://", "begin with http:// or https:// and a host name"),
        ("https://status.example.com/x", "end after the host and its port"),
        ("https://ana:pass@status.example.com", "carry no user or password"),
    ],
)
def test_address_of_the_site(settings, url, problem):
    settings.TOCSIN_URL = url

    assert [problem in text for text in said(checks.check_address)] == [True]
    assert "pass@" not in said(checks.check_address)[0]


def test_good_settings_say_nothing(settings):
    settings.TOCSIN_URL = "https://status.example.com:8443"

    call_command("check", tags=["tocsin"])


def test_home_that_cannot_be_written_to(settings, tmp_path):
    settings.TOCSIN_HOME = tmp_path / "gone"

    assert said(checks.check_home) == [
        f"TOCSIN_HOME: {tmp_path}/gone cannot be written to."
    ]


def test_lease_of_nothing(settings):
    settings.CHECK_LEASE_SECONDS = 0.0

    assert said(checks.check_timings) == ["CHECK_LEASE_SECONDS should be more than 0."]


@pytest.fixture
def env(monkeypatch):
    """Reads variables as the settings do; `env.set` sets one."""
    env = Environment()
    env.set = monkeypatch.setenv
    return env


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("mysql://u:secret@h/d", "begins with mysql://, which is not supported"),
        ("nonsense", "begins with no://, which is not supported"),
        ("postgres://u:se/cret@h/d", "cannot be read as an address"),
        ("postgres://u:secret@h:port/d", "cannot be read as an address"),
    ],
)
def test_database_that_is_not_supported(env, value, problem):
    env.set("DATABASE_URL", value)

    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_URL {problem}") as error:
        env.database("DATABASE_URL")
    assert "cret" not in str(error.value)


def test_database_on_postgresql(env):
    env.set("DATABASE_URL", "postgres://ana@db:5433/tocsin")

    config = env.database("DATABASE_URL")

    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db", 5433, "tocsin")


def test_mail_server_of_an_unknown_kind(env):
    env.set("EMAIL_URL", "pigeon://roof")

    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL begins with pigeon://"):
        env.mail("EMAIL_URL")


def test_mail_server(env):
    env.set("EMAIL_URL", "smtp+tls://ana%40example.org:p%2Fw@mail:587")

    config = env.mail("EMAIL_URL")

    assert config["EMAIL_HOST_USER"] == "ana@example.org"
    assert config["EMAIL_HOST_PASSWORD"] == "p/w"
    assert config["EMAIL_USE_TLS"] is True


def test_redis_by_another_scheme(env):
    env.set("REDIS_URL", "http://redis")

    with pytest.raises(ImproperlyConfigured, match="REDIS_URL should look like redis:"):
        env.redis("REDIS_URL")


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_port_out_of_range(env, port):
    env.set("PORT", port)

    with pytest.raises(ImproperlyConfigured, match="PORT should be 1 to 65535"):
        env.port("PORT", default=8000)


@pytest.mark.parametrize(
    ("cast", "form"),
    [("int", "a whole number"), ("float", "a number"), ("json", "JSON")],
)
def test_value_of_another_form(env, cast, form):
    env.set("SOMETHING", "else")

    with pytest.raises(ImproperlyConfigured, match=f"SOMETHING should be {form}"):
        getattr(env, cast)("SOMETHING")


def test_home_that_cannot_be_made(env, tmp_path):
    (tmp_path / "file").touch()
    env.set("TOCSIN_HOME", str(tmp_path / "file" / "home"))

    with pytest.raises(ImproperlyConfigured, match=r"TOCSIN_HOME: .* cannot be made"):
        env.folder("TOCSIN_HOME", default=tmp_path)


def test_watchdog_address_that_is_none_is_named(settings):
    settings.WATCHDOG_URLS = ["https://example.com/", "example.org"]

    (text,) = said(checks.check_watchdogs)
    assert text.startswith("WATCHDOG_URLS: address 2 should begin with http://")
