"""Logs in to Airflow or MLflow in Debian's Chromium, and leaves a picture of what it was to see.

python browse.py airflow|mlflow ADDRESS HOST WANTED PICTURE, with the password on standard input.
HOST is looked for on this machine. Exit code 0: the DAG or model WANTED was seen, and every cookie
is for TLS alone.
"""

import sys
from contextlib import suppress

from playwright.sync_api import Error, Page, sync_playwright

TRIES = 8


def log_in_to_airflow(page: Page, address: str, password: str) -> None:
    """By its form; its first page keeps what the login gave."""
    page.goto(address)
    page.fill("input[name=username]", "airflow")
    page.fill("input[name=password]", password)
    page.click("input[type=submit]")
    page.wait_for_url(f"{address}/")
    page.get_by_role("link", name="Dags").first.wait_for()


def seen(page: Page, address: str, wanted: str) -> bool:
    """Whether a page shows it."""
    for _ in range(TRIES):
        # Chromium drops what it was loading whenever the machine gets another network, as Docker's.
        with suppress(Error):
            page.goto(address)
            page.get_by_text(wanted).first.wait_for(timeout=30_000)
            return True
    return False


def main(what: str, address: str, host: str, wanted: str, picture: str) -> str | None:
    """Look; what is wrong, if anything is."""
    password = sys.stdin.read()
    # MLflow asks the browser itself, which sends what it has with each request.
    known = {"http_credentials": {"username": "admin", "password": password}}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", f"--host-resolver-rules=MAP {host} 127.0.0.1"],
        )
        # Its store of authorities is the machine's: that the CA is known is tested without one.
        more = known if what == "mlflow" else {}
        context = browser.new_context(ignore_https_errors=True, **more)
        page = context.new_page()
        page.set_default_timeout(150_000)
        if what == "airflow":
            log_in_to_airflow(page, address, password)
        if not seen(page, address + {"airflow": "/dags", "mlflow": "/#/models"}[what], wanted):
            return f"{wanted} is not seen at {page.url}"
        page.screenshot(path=picture)
        bare = [cookie["name"] for cookie in context.cookies() if not cookie["secure"]]
        browser.close()
    return f"cookies that plain HTTP would carry: {bare}" if bare else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
