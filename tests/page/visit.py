"""One page in the browser, with everything that must never happen written down."""

from axe_playwright_python.base import AXE_SCRIPT

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# Chromium's own words for an answer that did not come; the page says it in its alert.
NO_ANSWER = ("net::ERR_CONNECTION_REFUSED", "the server responded with a status of")


class Visit:
    """A page opened at a served status page; `faults` is what no visitor may meet."""

    def __init__(self, browser, url, size="desktop", theme="light", scripts=True):
        self.context = browser.new_context(
            viewport=_size(size), color_scheme=theme, java_script_enabled=scripts
        )
        self.url, self.faults, self.lost_allowed = url, [], False
        self.page = self.context.new_page()
        self.page.set_default_timeout(15000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("dialog", self._dialog)
        # From the context, as a hostile text may open a window of its own.
        self.context.on("request", self._request)
        self.page.goto(url)

    def _console(self, message):
        if not (self.lost_allowed and any(words in message.text for words in NO_ANSWER)):
            self.faults.append(f"console {message.type}: {message.text}")

    def _dialog(self, dialog):
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        if not request.url.startswith((f"{self.url}/", "data:,")):
            self.faults.append(f"asked elsewhere: {request.url}")

    def violations(self, *rules):
        """What axe finds by some rules, by all if none is named: one line for each element."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        found = self.page.evaluate("options => axe.run(options)", options)["violations"]
        return [f"{one['id']}: {node['html']:.200}" for one in found for node in one["nodes"]]

    def overflow(self):
        """Pixels by which the page is wider than its window."""
        wide = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
        return self.page.evaluate(wide)

    def theme(self, theme):
        """Change the reader's preference while the page is open."""
        self.page.emulate_media(color_scheme=theme)

    def ill_made(self):
        """Whatever axe finds in both themes, and whether it is wider than a phone."""
        found = self.violations()
        # Between the themes nothing but colours differs.
        self.theme("dark")
        found += self.violations("color-contrast")
        self.theme("light")
        self.page.set_viewport_size(_size("phone"))
        return found + ["wider than a phone"] * (self.overflow() > 0)

    def card(self, title):
        """What is said of one piece of work."""
        return self.page.locator("#work li").filter(
            has=self.page.get_by_role("heading", name=title)
        )

    def headline(self):
        """The one sentence at the top."""
        return self.page.locator("h1").inner_text()

    def verdicts(self):
        """Service and state as they are written, top down."""
        names = self.page.locator("tbody th").evaluate_all(
            "them => them.map(i => i.firstChild.data)"
        )
        states = self.page.locator("tbody td.state").all_inner_texts()
        return {name: state.split()[-1] for name, state in zip(names, states, strict=True)}


def _size(name):
    return dict(zip(("width", "height"), SIZES[name], strict=True))
