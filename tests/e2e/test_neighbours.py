"""Run a second clone next to the first one, and check what prevents its start."""

from secrets import token_urlsafe


def test_second_clone_does_not_affect_the_first(stack, second_clone):
    before = start_times_of_all(stack)
    second_clone.run_ok("inv", "up")
    assert second_clone.latest_versions() == []
    second_clone.run_ok("inv", "down")
    assert stack.health()["status"] == "healthy"
    assert start_times_of_all(stack) == before


def test_up_with_port_in_use_is_refused_and_starts_nothing(stack, second_clone):
    done = second_clone.run("inv", "up", AIRFLOW_PORT=stack.exported["AIRFLOW_PORT"])
    assert done.returncode == 1
    assert f"Port {stack.exported['AIRFLOW_PORT']}" in done.stderr
    assert str(stack.folder) in done.stderr, "the clone that uses the port is not named"
    assert not any(s["state"] == "running" for s in second_clone.health()["services"])


def test_up_failed_init_job_is_reported_with_its_log(second_clone):
    done = second_clone.run("inv", "up", AIRFLOW_DB_PASSWORD=token_urlsafe(32))
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    assert "airflow-init" in done.stderr


def test_up_with_data_but_lost_env_is_refused(second_clone):
    env = second_clone.folder / ".env"
    text = env.read_text()
    second_clone.run_ok("inv", "down")
    env.unlink()
    try:
        done = second_clone.run("inv", "up")
        assert done.returncode == 1
        assert "inv down --volumes --yes" in done.stderr
        assert not env.exists()
    finally:
        env.write_text(text)


def test_down_with_volumes_keeps_data_of_the_other_clone(stack, second_clone):
    before = start_times_of_all(stack)
    second_clone.run_ok("inv", "down", "--volumes", "--yes")
    assert stack.health()["status"] == "healthy"
    assert start_times_of_all(stack) == before
    assert len(stack.latest_versions()) == 1


def start_times_of_all(stack):
    """Return the start time of each service, including init jobs."""
    return {service["name"]: service["since"] for service in stack.health()["services"]}
