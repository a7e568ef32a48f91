"""A visit to the page in the browser, which records errors."""

from axe_playwright_python.base import AXE_SCRIPT

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# Chromium's console messages for a failed request. The page itself shows an alert.
NO_ANSWER = ("net::ERR_CONNECTION_REFUSED", "the server responded with a status of")


class Visit:
    """An open status page; `errors` collects console messages, dialogs and foreign requests."""

    def __init__(self, browser, url, size="desktop", theme="light", scripts=True):
        self.context = browser.new_context(
            viewport=_size(size), color_scheme=theme, java_script_enabled=scripts
        )
        self.url, self.errors, self.errors_allowed = url, [], False
        self.page = self.context.new_page()
        self.page.set_default_timeout(15000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("dialog", self._dialog)
        # From the context, because a hostile text may open another window.
        self.context.on("request", self._request)
        self.page.goto(url)

    def _console(self, message):
        if not (self.errors_allowed and any(text in message.text for text in NO_ANSWER)):
            self.errors.append(f"console {message.type}: {message.text}")

    def _dialog(self, dialog):
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        if not request.url.startswith((f"{self.url}/", "data:,")):
            self.errors.append(f"request to another server: {request.url}")

    def violations(self, *rules):
        """Return axe's violations of these rules (default: all), one line per element."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        violations = self.page.evaluate("options => axe.run(options)", options)["violations"]
        return [f"{one['id']}: {node['html']:.200}" for one in violations for node in one["nodes"]]

    def overflow(self):
        """Return by how many pixels the page is wider than its window."""
        wide = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
        return self.page.evaluate(wide)

    def theme(self, theme):
        """Change the preferred color scheme while the page is open."""
        self.page.emulate_media(color_scheme=theme)

    def defects(self):
        """Return axe's violations in both themes, and whether the page is wider than a phone."""
        defects = self.violations()
        # The themes differ only in colors.
        self.theme("dark")
        defects += self.violations("color-contrast")
        self.theme("light")
        self.page.set_viewport_size(_size("phone"))
        return defects + ["wider than a phone"] * (self.overflow() > 0)

    def card(self, title):
        """Return the card of a result of the work."""
        return self.page.locator("#work li").filter(
            has=self.page.get_by_role("heading", name=title)
        )

    def headline(self):
        """Return the headline."""
        return self.page.locator("h1").inner_text()

    def verdicts(self):
        """Return the shown state by service, in the order of the page."""
        headers = self.page.locator("tbody th")
        names = headers.evaluate_all("nodes => nodes.map(node => node.firstChild.data)")
        states = self.page.locator("tbody td.state").all_inner_texts()
        return {name: state.split()[-1] for name, state in zip(names, states, strict=True)}


def _size(name):
    return dict(zip(("width", "height"), SIZES[name], strict=True))
