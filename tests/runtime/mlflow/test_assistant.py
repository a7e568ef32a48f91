"""Test that MLflow's pages are served without the assistant."""

from types import SimpleNamespace

import pytest

# Excerpts of the script of MLflow 3.17.2.
LOCAL = (
    '(()=>{const e=window.location.hostname;return"localhost"===e||"127.0.0.1"===e||"::1"===e})(),'
)
STATE = """(0,s.Mj)({key:"mlflow.assistant.panelOpen",version:1,initialValue:!1}),"""
SCRIPT = f"before {LOCAL} between {STATE} after".encode()
EDITED = (
    b"before (()=>{const e=window.location.hostname;return!1})(), between "
    b'(0,s.Mj)({key:"mlflow.assistant.panelOpen",version:0,initialValue:!1}), after'
)
NAME = "static/js/main.c2f5f8d4.js"


class Response:
    """Stands for Flask's response."""

    def __init__(self, body, mimetype):
        self.body, self.mimetype = body, mimetype
        self.cache_control, self.etag = SimpleNamespace(), ""

    def add_etag(self):
        self.etag = f"hash of {len(self.body)} bytes"

    def make_conditional(self, request):
        return self


@pytest.fixture
def assistant(script):
    return script("mlflow.assistant", flask={"Response": Response, "request": None})


@pytest.fixture
def serve(assistant, tmp_path):
    """Return the view for static files of a server that has MLflow's scripts."""
    (tmp_path / "static/js").mkdir(parents=True)
    (tmp_path / NAME).write_bytes(SCRIPT)
    (tmp_path / "static/js/1536.400d7381.chunk.js").write_bytes(SCRIPT)
    views = {assistant.VIEW: lambda path: f"MLflow serves {path}"}
    app = SimpleNamespace(static_folder=str(tmp_path), view_functions=views)
    assistant.hide(SimpleNamespace(app=app))
    return views[assistant.VIEW]


def test_main_script_treats_every_address_as_remote(serve):
    answer = serve(NAME)
    assert (answer.body, answer.mimetype) == (EDITED, "text/javascript")
    assert answer.etag == f"hash of {len(EDITED)} bytes"
    assert answer.cache_control.max_age == 2_419_200


@pytest.mark.parametrize(
    "path",
    ["static/js/1536.400d7381.chunk.js", "static/js/main.00000000.js", "static/js/../main.x.js"],
)
def test_other_files_are_served_by_mlflow(serve, path):
    assert serve(path) == f"MLflow serves {path}"


@pytest.mark.parametrize("script_text", [b"", LOCAL.encode(), STATE.encode(), SCRIPT + SCRIPT])
def test_unknown_script_stays_unchanged_and_is_logged(assistant, caplog, script_text):
    assert assistant.without_assistant(script_text) == script_text
    assert "The assistant is not hidden" in caplog.text
