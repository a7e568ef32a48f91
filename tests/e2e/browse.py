"""Log in to Airflow or MLflow with Debian's Chromium, and take a screenshot.

Usage: python browse.py airflow|mlflow ADDRESS HOST NAME SCREENSHOT, with the password on standard
input. HOST resolves to this machine. Exit code 0 means that the page shows the DAG or model NAME,
and that the browser sends all cookies over TLS only.
"""

import sys
from contextlib import suppress

from playwright.sync_api import Error, Page, sync_playwright

TRIES = 8


def log_in_to_airflow(page: Page, address: str, password: str) -> None:
    """Log in with the form, and wait for the first page, which stores the token."""
    page.goto(address)
    page.fill("input[name=username]", "airflow")
    page.fill("input[name=password]", password)
    page.click("input[type=submit]")
    page.wait_for_url(f"{address}/")
    page.get_by_role("link", name="Dags").first.wait_for()


def shows(page: Page, address: str, name: str) -> bool:
    """Return whether the page at an address shows a name."""
    for _ in range(TRIES):
        # Chromium aborts loading when this machine's networks change, for example Docker's.
        with suppress(Error):
            page.goto(address)
            page.get_by_text(name).first.wait_for(timeout=30_000)
            return True
    return False


def main(server: str, address: str, host: str, name: str, screenshot: str) -> str | None:
    """Log in and take the screenshot. Return a problem, or None."""
    password = sys.stdin.read()
    # MLflow uses HTTP Basic authentication, so the browser sends the password with each request.
    credentials = {"http_credentials": {"username": "admin", "password": password}}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", f"--host-resolver-rules=MAP {host} 127.0.0.1"],
        )
        # This machine's CA store, which Chromium uses, lacks the stack's CA. Other tests verify it.
        options = credentials if server == "mlflow" else {}
        context = browser.new_context(ignore_https_errors=True, **options)
        page = context.new_page()
        page.set_default_timeout(150_000)
        if server == "airflow":
            log_in_to_airflow(page, address, password)
        if not shows(page, address + {"airflow": "/dags", "mlflow": "/#/models"}[server], name):
            return f"{page.url} does not show {name}."
        page.screenshot(path=screenshot)
        insecure = [cookie["name"] for cookie in context.cookies() if not cookie["secure"]]
        browser.close()
    return f"The browser sends these cookies over plain HTTP: {insecure}" if insecure else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
