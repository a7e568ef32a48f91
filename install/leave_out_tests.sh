#!/bin/sh
# Remove the tests of numeric packages from an environment, which are a tenth of an image:
#   leave_out_tests.sh /opt/mlflow
# The packages are listed because others need their folder `tests` at run time (evidently, jinja2).
set -eu

PACKAGES='matplotlib|mpl_toolkits|numpy|pandas|pyarrow|scipy|sklearn|statsmodels'

find "${1:?usage: leave_out_tests.sh ENVIRONMENT}" -regextype posix-extended -type d \
    -regex ".*/site-packages/($PACKAGES)/(.*/)?tests" -prune -exec rm -r {} +
