"""Logs in to Airflow in Debian's Chromium, and leaves a picture of its DAGs.

python browse.py ADDRESS HOST DAG PICTURE, with the password on standard input. HOST is looked for
on this machine. Exit code 0: the DAG was seen, and every cookie is for TLS alone.
"""

import sys
from contextlib import suppress

from playwright.sync_api import Error, sync_playwright

TRIES = 8
ADDRESS, HOST, DAG, PICTURE = sys.argv[1:]

with sync_playwright() as driver:
    browser = driver.chromium.launch(
        executable_path="/usr/bin/chromium",
        args=["--no-sandbox", f"--host-resolver-rules=MAP {HOST} 127.0.0.1"],
    )
    # Its store of authorities is the machine's: that the CA is known is tested without a browser.
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(150_000)
    page.goto(ADDRESS)
    page.fill("input[name=username]", "airflow")
    page.fill("input[name=password]", sys.stdin.read())
    page.click("input[type=submit]")
    page.wait_for_url(f"{ADDRESS}/")
    # Its first page keeps what the login gave.
    page.get_by_role("link", name="Dags").first.wait_for()
    for _ in range(TRIES):
        # Chromium drops what it was loading whenever the machine gets another network, as Docker's.
        with suppress(Error):
            page.goto(f"{ADDRESS}/dags")
            page.get_by_text(DAG).first.wait_for(timeout=30_000)
            break
    else:
        sys.exit(f"{DAG} is not seen at {page.url}")
    page.screenshot(path=PICTURE)
    bare = [cookie["name"] for cookie in context.cookies() if not cookie["secure"]]
    browser.close()
sys.exit(f"cookies that plain HTTP would carry: {bare}" if bare else 0)
