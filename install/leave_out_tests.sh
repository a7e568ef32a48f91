#!/bin/sh
# Removes the tests that packages for numbers bring along, a tenth of an image, from an environment:
#   leave_out_tests.sh /opt/mlflow
# Named one by one: elsewhere a folder `tests` may be what a package runs by (evidently, jinja2).
set -eu

PACKAGES='matplotlib|mpl_toolkits|numpy|pandas|pyarrow|scipy|sklearn|statsmodels'

find "${1:?usage: leave_out_tests.sh ENVIRONMENT}" -regextype posix-extended -type d \
    -regex ".*/site-packages/($PACKAGES)/(.*/)?tests" -prune -exec rm -r {} +
