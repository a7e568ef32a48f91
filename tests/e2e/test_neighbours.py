"""A second clone beside the first one, and what stands in the way of its start."""

from secrets import token_urlsafe


def test_a_second_clone_beside_it_touches_nothing(stack, second_clone):
    before = since_of_all(stack)
    second_clone.well("inv", "up")
    assert second_clone.registered() == []
    second_clone.well("inv", "down")
    assert stack.health()["status"] == "healthy"
    assert since_of_all(stack) == before


def test_a_taken_port_is_refused_before_anything_starts(stack, second_clone):
    done = second_clone.run("inv", "up", AIRFLOW_PORT=stack.exported["AIRFLOW_PORT"])
    assert done.returncode == 1
    assert f"Port {stack.exported['AIRFLOW_PORT']}" in done.stderr
    assert str(stack.folder) in done.stderr, "which clone holds it"
    assert not any(s["state"] == "running" for s in second_clone.health()["services"])


def test_an_init_that_fails_is_told_with_its_log(second_clone):
    done = second_clone.run("inv", "up", AIRFLOW_DB_PASSWORD=token_urlsafe(32))
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    assert "airflow-init" in done.stderr


def test_a_lost_env_with_data_left_is_refused(second_clone):
    env = second_clone.folder / ".env"
    kept = env.read_text()
    second_clone.well("inv", "down")
    env.unlink()
    try:
        done = second_clone.run("inv", "up")
        assert done.returncode == 1
        assert "inv down --volumes --yes" in done.stderr
        assert not env.exists()
    finally:
        env.write_text(kept)


def test_the_data_of_one_clone_goes_and_that_of_the_other_stays(stack, second_clone):
    before = since_of_all(stack)
    second_clone.well("inv", "down", "--volumes", "--yes")
    assert stack.health()["status"] == "healthy"
    assert since_of_all(stack) == before
    assert len(stack.registered()) == 1


def since_of_all(stack):
    """When each service was started, one-shots included."""
    return {service["name"]: service["since"] for service in stack.health()["services"]}
