"""A real browser, and the tabs that tests open in it."""

from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}, install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    with pytest.MonkeyPatch.context() as patch, api.sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, which Django takes for
        # asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=OPTIONS
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, live_server, settings, own_cache):
    """Open a tab on the site; at the end, nothing may have gone wrong in it."""
    settings.TOCSIN_URL = live_server.url
    contexts, troubles = [], []

    def note(trouble):
        # A refused form is an answer like any other, but noted by the browser; so is
        # a field that does not take the focus from where it is already.
        if "status of 400" not in trouble and "Autofocus" not in trouble:
            troubles.append(trouble)

    def note_foreign(url):
        if not url.startswith((live_server.url, "data:")):
            troubles.append(url)

    def visit(path, *, width=1280, **more):
        context = chromium.new_context(
            base_url=live_server.url, viewport={"width": width, "height": 800}, **more
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        tab.on("console", lambda said: note(said.text))
        tab.on("pageerror", lambda error: note(str(error)))
        tab.on("request", lambda request: note_foreign(request.url))
        tab.goto(path)
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def at_desk(visit, admin):
    """Open a page of the admin as the operator."""
    cookie = {"name": "sessionid", "value": admin.cookies["sessionid"].value}
    state = {"cookies": [{**cookie, "domain": "localhost", "path": "/"}]}

    def at_desk(path, **more):
        return visit(f"/admin/{path}", storage_state=state, **more)

    return at_desk
