"""The API's page of documentation, in a real browser under our own policy."""

from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}, install chromium"
    ),
]


def test_docs_render_and_load_nothing_from_elsewhere(live_server):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    said, asked = [], []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page()
        # A breach of the Content-Security-Policy is said on the console.
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))

        page.goto(f"{live_server.url}/api/docs/")
        page.click("#operations-monitors-monitors_create")
        page.wait_for_selector("#operations-monitors-monitors_create .responses-table")
        title = page.inner_text(".title")
        browser.close()

    assert title.startswith("Tocsin")
    assert said == []
    own = (live_server.url, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
