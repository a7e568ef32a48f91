"""Print every option of the installed Airflow and its providers, as environment variables.

After a change of the locks in install/airflow, run for each version:
    .nox/airflow-3.0.1/bin/python checks/airflow_options.py \
        > orchestration/settings/airflow_options/3.0.1.txt
"""

from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager


def lines() -> list[str]:
    """Return the sorted names. Airflow still reads old ones; the new one follows them."""
    ProvidersManager().initialize_providers_configuration()
    described = conf.configuration_description.items()
    current = {variable(section, key): "" for section, text in described for key in text["options"]}
    old = {variable(*was[:2]): variable(*new) for new, was in conf.deprecated_options.items()}
    return sorted(f"{name} {new}".strip() for name, new in {**old, **current}.items())


def variable(section: str, key: str) -> str:
    """Return the environment variable of an option."""
    return f"AIRFLOW__{section.replace('.', '_')}__{key}".upper()


if __name__ == "__main__":
    print("\n".join(lines()))
