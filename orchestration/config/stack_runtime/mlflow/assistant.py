"""Turn MLflow's assistant off in its pages.

The server refuses the assistant's requests (`authorization.py`), but MLflow 3.17.2 has no setting
that hides it. Its pages show it if they are opened as localhost, where it also opens by itself.
"""

import logging
import re
from functools import wraps
from pathlib import Path
from typing import Any

LOG = logging.getLogger("stack_runtime.assistant")
VIEW = "serve_static_file"
MAIN_SCRIPT = re.compile(r"static/js/main\.\w+\.js")
# The condition for its panel and buttons, and the state of the panel in the browser's storage: an
# earlier visit may have left it open.
EDITS = (
    (rb'return"localhost"===(\w+)\|\|"127\.0\.0\.1"===\1\|\|"::1"===\1(?=\}\)\(\),)', b"return!1"),
    (rb'(?<=key:"mlflow\.assistant\.panelOpen",version:)1', b"0"),
)
# As MLflow sends it. The name of the script changes with its content.
MAX_AGE_SECONDS = 28 * 24 * 3600


def hide(server: Any) -> None:
    """Serve MLflow's main script so that its pages treat every address as remote."""
    folder, serve = Path(server.app.static_folder), server.app.view_functions[VIEW]

    @wraps(serve)
    def serve_without_assistant(path: str) -> Any:
        file = folder / path
        if not MAIN_SCRIPT.fullmatch(path) or not file.is_file():
            return serve(path)
        return _answer(without_assistant(file.read_bytes()))

    server.app.view_functions[VIEW] = serve_without_assistant


def without_assistant(script: bytes) -> bytes:
    """Return the script without the assistant; unchanged, and with a log line, if unknown."""
    edited = script
    for pattern, replacement in EDITS:
        edited, count = re.subn(pattern, replacement, edited)
        if count != 1:
            LOG.warning("The assistant is not hidden: MLflow's script has another form.")
            return script
    return edited


def _answer(script: bytes) -> Any:
    from flask import Response, request

    response = Response(script, mimetype="text/javascript")
    response.cache_control.public = True
    response.cache_control.max_age = MAX_AGE_SECONDS
    response.add_etag()
    return response.make_conditional(request)
