"""Print every option of the installed Airflow and its providers, as environment variables.

After a change of Airflow's version, run:
    .nox/airflow/bin/python checks/airflow_options.py > orchestration/settings/airflow_options.txt
"""

from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager


def names() -> list[str]:
    """Return the sorted names. Deprecated ones are included, because Airflow still reads them."""
    ProvidersManager().initialize_providers_configuration()
    described = conf.configuration_description.items()
    options = {(section, key) for section, text in described for key in text["options"]}
    options |= {(old[0], old[1]) for old in conf.deprecated_options.values()}
    return sorted(
        {f"AIRFLOW__{section.replace('.', '_')}__{key}".upper() for section, key in options}
    )


if __name__ == "__main__":
    print("\n".join(names()))
