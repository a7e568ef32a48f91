"""Recorded output of builds (Compose 2.26.1, Engine 20.10, long commands cut) read into rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.engines.docker.build_output import WIDTH, Stages

NAMES = {
    "airflow-init": "airflow image",
    "mlflow-migrate": "mlflow image",
    "status": "status page image",
}
BEGUN = """\
#0 building with "default" instance using docker driver

#1 [airflow-init internal] load build definition from airflow.dockerfile
#1 transferring dockerfile: 40B done
#1 DONE 0.0s

#2 [mlflow-migrate internal] load build definition from mlflow.dockerfile
#2 transferring dockerfile: 39B done
#2 DONE 0.0s
"""
# One step shared by two images, then each image's own, suspended and returned to.
UV = """\
#13 [mlflow-migrate uv 3/3] RUN --mount=type=secret,id=ca_bundle     apt-get -qq update \
&& apt-get -qq install -y --no-install-recommends python3-venv ca-certificates >/dev/null     \
&& if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi     \
&& python3 -m venv /uv && /uv/bin/pip install -q  --require-hashes -r /uv.lock
"""
PYTHON = """\
#16 [airflow-init stage-1 2/6] RUN if ! command -v airflow >/dev/null; then         \
apt-get -qq update         && apt-get -qq install -y --no-install-recommends python3 dumb-init \
curl ca-certificates tzdata >/dev/null         && rm -rf /var/lib/apt/lists/*; fi
"""
AT_WORK = f"""\
#7 [mlflow-migrate stage-1 1/6] FROM docker.io/library/debian:bookworm-slim
#7 DONE 0.0s

#7 [airflow-init stage-1 1/6] FROM docker.io/library/debian:bookworm-slim
#7 CACHED

{UV}#13 ...

{PYTHON}#16 9.818 debconf: delaying package configuration, since apt-utils is not installed
#16 ...

{UV}#13 10.63 debconf: delaying package configuration, since apt-utils is not installed
#13 DONE 27.1s

{PYTHON}#16 DONE 20.7s
"""
EXPORTED = """\
#25 [status stage-1 5/5] WORKDIR /app
#25 DONE 0.1s

#26 [status] exporting to image
#26 exporting layers
#26 exporting layers 1.0s done
#26 writing image sha256:f1df9c1a61f00a74e8aa0b630c88277995d3fc71fd0a4e723500d1e1a441a3e7 done
#26 naming to docker.io/library/x-fbb372-status done
#26 DONE 1.0s
"""
# All steps cached: two images are exported in one step, a third after it in a step of its number.
CACHED = """\
#15 [airflow-init stage-1 6/6] WORKDIR /opt/airflow
#15 CACHED

#22 [mlflow-migrate stage-1 4/4] WORKDIR /home/mlflow
#22 CACHED

#23 [status internal] load build context
#23 transferring context: 418B done
#23 DONE 0.0s

#24 [mlflow-migrate] exporting to image
#24 exporting layers done
#24 writing image sha256:76072f353267d9c29f6e7c808ecddf4fd66466b1559c186b49ffbe72e6f67aae done
#24 naming to docker.io/library/x-fbb372-airflow done
#24 writing image sha256:655b496d9f01b0c1f4176a6c774d234bb90d790fcb9af3597ad7e7f80a8f176a done
#24 naming to docker.io/library/x-fbb372-mlflow done
#24 DONE 0.0s
"""
CACHED_END = """\
#30 [status stage-1 5/5] WORKDIR /app
#30 CACHED

#24 [status] exporting to image
#24 naming to docker.io/library/x-fbb372-status done
#24 DONE 0.0s
"""
# A lock that names a package that is none.
FAILED = """\
#27 [status uv 3/3] RUN --mount=type=secret,id=ca_bundle     apt-get -qq update
#27 CACHED

#28 [status stage-1 3/5] RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv \
    --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=ca_bundle     if [ -s \
/run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi     && export \
UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy     && uv venv -q --python /usr/bin/python3 \
/opt/status     && uv pip install -q --python /opt/status          --compile-bytecode \
--require-hashes -r /tmp/status.lock
#28 0.367 error: No solution found when resolving dependencies
#28 ...
#28 0.367   cause: Because uvicorn-no-such-package was not found in the package registry
#28 ERROR: executor failed running [/bin/sh -c if [ -s /run/secrets/ca_bundle ]; then export \
SSL_CERT_FILE=/run/secrets/ca_bundle; fi     && uv pip install -q]: exit code: 1
------
 > [status stage-1 3/5] RUN --mount=type=bind,from=uv,source=/uv/bin/uv:
0.367 error: No solution found when resolving dependencies
0.367   cause: Because uvicorn-no-such-package was not found in the package registry
------
failed to solve: executor failed running [/bin/sh -c if [ -s /run/secrets/ca_bundle ]]: exit code: 1
"""
# One image fails, Compose gives up the other.
GIVEN_UP = """\
#7 [slow 2/2] RUN sleep 21
#7 CANCELED

#8 [status 2/2] RUN for i in $(seq 15); do echo "line $i"; done; sleep 2; printf 'half'; exit 137
"""
# What stands there when a base image cannot be had, and for a Dockerfile that is none.
NO_BASE = """\
#3 [status internal] load metadata for localhost:1/nope:1
#3 ERROR: failed to do request: Head "http://localhost:1/v2/": connect: connection refused
------
 > [status internal] load metadata for localhost:1/nope:1:
------
failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0
"""
NO_DOCKERFILE = """\
#2 [status internal] load .dockerignore
#2 transferring context: 2B done
#2 DONE 0.0s
failed to solve: rpc error: code = Unknown desc = dockerfile parse error line 2: RUNN
"""


def read(*outputs, names=NAMES):
    stages = Stages(names)
    for line in "".join(outputs).splitlines(keepends=True):
        stages.feed(line)
    return stages


def rows(*outputs, names=NAMES):
    return {name: (kind, detail) for name, kind, detail in read(*outputs, names=names).lines()}


def test_before_any_output_there_are_no_rows():
    assert read("").lines() == []


def test_an_image_has_a_row_by_its_own_name_as_soon_as_its_build_begins():
    assert read(BEGUN).lines() == [
        ("airflow image", "wait", "load build definition from airflow.dockerfile"),
        ("mlflow image", "wait", "load build definition from mlflow.dockerfile"),
    ]


def test_rows_stand_in_the_order_of_the_names_whoever_begins():
    assert list(rows(EXPORTED, AT_WORK)) == ["airflow image", "mlflow image", "status page image"]


def test_a_row_tells_the_step_and_the_command_that_takes_long():
    assert rows(AT_WORK) == {
        "airflow image": ("wait", "step 2/6  RUN apt-get install python3 dumb-init curl ca-cer…"),
        "mlflow image": ("wait", "step 3/3  RUN apt-get install python3-venv ca-certificates"),
    }


def test_a_command_that_installs_nothing_is_told_from_its_beginning():
    line = "#8 [status 2/2] RUN --network=none for i in $(seq -w 15); do echo 1; done && sleep 2\n"
    told = "step 2/2  RUN for i in $(seq -w 15); do echo 1; done && sle…"
    assert rows(line)["status page image"] == ("wait", told)
    copy = "#29 [airflow-init stage-1 5/6] COPY --chmod=755 --link do install /usr/local/bin/\n"
    assert rows(copy)["airflow image"] == ("wait", "step 5/6  COPY do install /usr/local/bin/")


def test_the_condition_of_a_command_is_left_out():
    line = "#8 [status 2/2] RUN if [ -e /a ]; then uv pip install -q a; else apk install b; fi\n"
    assert rows(line)["status page image"] == ("wait", "step 2/2  RUN uv pip install a")


def test_while_steps_run_at_once_the_one_that_began_last_is_shown_until_it_ends():
    first = "#1 [status stage-1 2/5] COPY a b\n"
    second = "#2 [status uv 2/3] COPY c d\n"
    back = "#1 [status stage-1 2/5] COPY a b\n#1 1.0 said\n"
    assert rows(first, second, back)["status page image"] == ("wait", "step 2/3  COPY c d")
    assert rows(first, second, "#2 DONE 1.0s\n")["status page image"] == (
        "wait",
        "step 2/5  COPY a b",
    )


def test_an_exported_image_is_ready_and_no_other():
    assert rows(AT_WORK, EXPORTED)["status page image"] == ("ok", "ready")
    assert {kind for kind, _ in rows(AT_WORK, EXPORTED).values()} == {"ok", "wait"}


def test_an_image_is_not_ready_before_its_export_has_ended():
    assert rows(EXPORTED.replace("#26 DONE 1.0s\n", "")) == {
        "status page image": ("wait", "exporting to image")
    }


def test_images_exported_in_one_step_are_ready_together_and_those_behind_are_not():
    kinds = {name: kind for name, (kind, _) in rows(CACHED).items()}
    assert kinds == {"airflow image": "ok", "mlflow image": "ok", "status page image": "wait"}
    assert set(rows(CACHED, CACHED_END).values()) == {("ok", "ready")}


def test_an_image_taken_for_ready_too_early_waits_again():
    more = "#31 [mlflow-migrate stage-1 3/4] RUN sleep 9\n"
    assert rows(CACHED, more)["mlflow image"] == ("wait", "step 3/4  RUN sleep 9")


def test_an_image_at_work_on_its_last_step_is_not_exported_along():
    working = "#28 [mlflow-migrate stage-1 4/4] RUN sleep 9\n"
    assert rows(working, EXPORTED)["mlflow image"][0] == "wait"


def test_a_build_that_is_known_to_have_ended_well_has_only_ready_images():
    stages = read(AT_WORK)
    stages.finish()
    assert {(kind, detail) for _, kind, detail in stages.lines()} == {("ok", "ready")}


def test_a_failed_step_is_told_in_its_row_alone():
    assert rows(CACHED, FAILED) == {
        "airflow image": ("ok", "ready"),
        "mlflow image": ("ok", "ready"),
        "status page image": (
            "bad",
            "failed at step 3/5  RUN uv pip install /opt/status /tmp/sta…",
        ),
    }


def test_what_the_failed_step_said_is_without_prefixes_and_said_once():
    assert read(BEGUN, AT_WORK, FAILED).failure() == [
        "error: No solution found when resolving dependencies",
        "  cause: Because uvicorn-no-such-package was not found in the package registry",
    ]


def test_of_a_long_output_the_last_twelve_lines_that_say_something_are_kept():
    said = "".join(f"#8 0.225 line {number}\n" for number in range(1, 16))
    end = "#8 2.226 half\n#8 2.226 \n#8 ERROR: executor failed running [/bin/sh]: exit code: 137\n"
    lines = [f"line {number}" for number in range(5, 16)]
    assert read(GIVEN_UP, said, end).failure() == [*lines, "half"]


def test_a_failed_step_that_said_nothing_tells_how_it_ended():
    end = "#8 ERROR: executor failed running [/bin/sh -c exit]: exit code: 137\n"
    assert read(GIVEN_UP, end).failure() == ["exit code: 137"]
    newer = '#8 ERROR: process "/bin/sh -c x" did not complete successfully: exit code: 3\n'
    assert read(GIVEN_UP, newer).failure() == ["exit code: 3"]


def test_the_first_step_to_fail_is_the_reason_for_those_after_it():
    second = "#9 [mlflow-migrate 2/2] RUN b\n#9 1.0 second\n#9 ERROR: exit code: 1\n"
    assert read(FAILED, second).failure()[0].startswith("error: No solution")


def test_an_image_given_up_for_another_is_not_blamed():
    assert rows(GIVEN_UP)["slow"] == ("wait", "cancelled at step 2/2  RUN sleep 21")
    long = rows(UV, "#13 CANCELED\n")["mlflow image"]
    assert long == ("wait", "cancelled at step 3/3  RUN apt-get install python3-venv ca-…")


def test_a_failed_image_stays_failed_whatever_its_other_steps_do():
    later = "#29 [status stage-1 2/5] COPY a b\n#29 DONE 0.1s\n#29 [status] exporting to image\n"
    assert rows(FAILED, later) == rows(FAILED)
    at_once = "#29 [status stage-1 2/5] COPY a b\n", FAILED, "#29 CANCELED\n"
    assert rows(*at_once) == rows(FAILED)
    assert rows(FAILED, CACHED)["status page image"] == rows(FAILED)["status page image"]


def test_a_base_image_that_cannot_be_had_is_told():
    assert read(NO_BASE).failure() == [
        'failed to do request: Head "http://localhost:1/v2/": connect: connection refused'
    ]
    assert rows(NO_BASE)["status page image"][0] == "bad"


def test_where_no_step_failed_what_was_said_outside_of_steps_is_told():
    assert read(NO_DOCKERFILE).failure() == [
        "failed to solve: rpc error: code = Unknown desc = dockerfile parse error line 2: RUNN"
    ]


def test_steps_without_a_service_are_those_of_the_only_image():
    nameless = FAILED.replace("[status ", "[").replace("[status]", "")
    assert rows(nameless, names={"redis": "redis image"}) == {
        "redis image": rows(FAILED)["status page image"]
    }
    exported = EXPORTED.replace("[status stage-1 ", "[").replace("[status] ", "")
    assert rows(exported, names={"redis": "redis image"}) == {"redis image": ("ok", "ready")}


def test_a_service_without_a_name_of_its_own_stands_for_itself():
    assert rows("#1 [extra stage-1 2/5] COPY a b\n") == {"extra": ("wait", "step 2/5  COPY a b")}
    assert rows("#6 [extra] exporting to image\n#6 DONE 1.0s\n") == {"extra": ("ok", "ready")}


@pytest.mark.parametrize(
    "line",
    [
        "#1 [internal] load local bake definitions",
        "#3 [auth] library/debian:pull token for registry-1.docker.io",
        "#4 [2/5] COPY a b",
        "#5 importing cache manifest from x",
        "#6 exporting to image",
        "#7",
        "#8 DONE 0.1s",
        "#x [status stage-1 2/5] COPY a b",
        'time="2026-11-24" level=warning msg="unknown"',
    ],
)
def test_what_belongs_to_no_image_makes_no_row(line):
    assert rows(f"{line}\n") == {}


def test_colours_and_carriage_returns_do_not_hide_a_step():
    line = "\x1b[34m#1 [status stage-1 2/5] COPY a b\x1b[0m\r\n"
    assert rows(line)["status page image"] == ("wait", "step 2/5  COPY a b")


def test_the_address_of_a_package_index_with_its_password_is_not_shown():
    index = "https://me:secret@host/"  # pragma: allowlist secret
    line = f'#1 [status 2/5] RUN uv pip install --default-index "{index}" -r a.lock\n'
    assert rows(line)["status page image"] == ("wait", "step 2/5  RUN uv pip install a.lock")
    assert "secret" not in str(rows(f"#1 [status 2/5] {index}\n"))


WORDS = "# [ ] : / 1 2 2/3 3/3 0.1 ... status uv RUN -- && install DONE CACHED CANCELED ERROR \0 �"
PIECES = st.sampled_from([*WORDS.split(" "), " ", "\x1b[1m", "exporting to image"])


@given(st.lists(st.lists(PIECES, max_size=9).map("".join) | st.text(), max_size=12))
def test_any_lines_are_taken_in_and_rows_stay_one_short_line(lines):
    stages = Stages(NAMES)
    for line in lines:
        stages.feed(line)
    assert len(stages.failure()) <= 12
    for _, kind, detail in stages.lines():
        assert kind in ("ok", "wait", "bad")
        assert len(detail) <= WIDTH
