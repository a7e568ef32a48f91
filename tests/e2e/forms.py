"""Use the pages of Airflow and MLflow with Debian's Chromium, as a user does.

Usage: python forms.py airflow|mlflow ADDRESS NAME…, with the password on standard input. With
`airflow` it triggers each DAG with its form as it opens, and opens the backfill form of those that
have one. With `mlflow` it opens the models' page, which shows NAME. Prints a JSON object: for each
DAG the forms whose button can be clicked, or the number of elements of MLflow's assistant.
"""

import json
import sys

from browse import log_in_to_airflow
from playwright.sync_api import Locator, Page, expect, sync_playwright

FIRST_DAY, LAST_DAY = "2013-06-01T00:00", "2013-06-02T00:00"
ASSISTANT = "[data-assistant-ui], :text('MLflow Assistant')"
# The assistant opens as soon as the page is loaded.
OPENS_WITHIN_MS = 3_000


def can_be_clicked(button: Locator) -> bool:
    """Wait for a button, and return whether it becomes enabled."""
    button.wait_for()
    try:
        expect(button).to_be_enabled(timeout=20_000)
    except AssertionError:
        return False
    return True


def open_form(page: Page, address: str, dag_id: str) -> Locator:
    page.goto(f"{address}/dags/{dag_id}")
    page.get_by_role("button", name="Trigger Dag").first.click()
    form = page.get_by_role("dialog")
    form.get_by_text("Configuration JSON").or_(
        form.get_by_text("Advanced Options")
    ).first.wait_for()
    return form


def usable_forms(page: Page, address: str, dag_id: str) -> list[str]:
    """Trigger a DAG and open its backfill form. Return the forms whose button can be clicked."""
    usable = []
    form = open_form(page, address, dag_id)
    backfill = form.get_by_text("Backfill", exact=True)
    if backfill.count():
        backfill.click()
        form.locator("input[name=from_date]").fill(FIRST_DAY)
        form.locator("input[name=to_date]").fill(LAST_DAY)
        if can_be_clicked(form.get_by_role("button", name="Run Backfill")):
            usable.append("backfill")
        form = open_form(page, address, dag_id)
    button = form.get_by_role("button", name="Trigger", exact=True)
    if can_be_clicked(button):
        button.click()
        form.wait_for(state="hidden")
        usable.append("trigger")
    return usable


def assistant_elements(page: Page, address: str, name: str) -> int:
    """Open MLflow's models, and return how many elements of the assistant the page shows."""
    page.goto(f"{address}/#/models")
    page.get_by_text(name).first.wait_for()
    page.wait_for_timeout(OPENS_WITHIN_MS)
    return page.locator(ASSISTANT).count()


def main(server: str, address: str, *names: str) -> dict[str, object]:
    """Use the page of a server and return what is printed."""
    password = sys.stdin.read()
    credentials = {"http_credentials": {"username": "admin", "password": password}}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_context(**(credentials if server == "mlflow" else {})).new_page()
        page.set_default_timeout(150_000)
        if server == "mlflow":
            return {"assistant": assistant_elements(page, address, names[0])}
        log_in_to_airflow(page, address, password)
        return {name: usable_forms(page, address, name) for name in names}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
