#!/bin/sh
# Health check of a container that also kills a service that runs but does not work. The restart
# policy then starts it again; Docker restarts nothing just because it is unhealthy.
#
#     heal.sh kill|report MISSES CHECK…
#
# The exit code of CHECK: 0 is healthy, 3 is unhealthy although a restart would not help, any other is
# a miss. A check that takes longer than 8 s is a miss too. After MISSES misses in a row the service
# is killed, at most three times an hour. After that it stays unhealthy until a person looks at it.
# `report` never kills anything. PID 1 is an init, which exits with its child; nothing else can be
# killed from inside the container.
set -u
mode=$1
misses=$2
shift 2
state=${HEAL_STATE:-/tmp/heal}
# The time of each kill of this container. A restart empties /tmp, but not this volume.
kills=${HEAL_KILLS:-/run/heal}/$(uname -n)
STARTING_SECONDS=120
KILLS_PER_HOUR=3

log() {
    echo "heal: $1"
    # This is the output of the container, so `inv logs` shows it.
    { echo "heal: $1" >/proc/1/fd/2; } 2>/dev/null || true
}

seconds_since_start() {
    read -r up _ </proc/uptime
    # The start time (in 1/100 s) is field 20 after the name in parentheses, which may contain spaces.
    # shellcheck disable=SC2046
    set -- $(sed 's/.*) //' /proc/1/stat)
    echo $((${up%.*} - ${20} / 100))
}

kills_within_the_hour() {
    now=$(date +%s)
    number=0
    [ ! -f "$kills" ] || while read -r moment; do
        [ $((now - moment)) -ge 3600 ] || number=$((number + 1))
    done <"$kills"
    echo "$number"
}

timeout 8 "$@"
result=$?
if [ "$result" -eq 0 ] || [ "$result" -eq 3 ]; then
    rm -f "$state/missed"
    exit $((result != 0))
fi
[ "$(seconds_since_start)" -gt "$STARTING_SECONDS" ] || exit 1
mkdir -p "$state"
echo >>"$state/missed"
[ "$(wc -l <"$state/missed")" -ge "$misses" ] || exit 1
rm -f "$state/missed"
if [ "$(kills_within_the_hour)" -ge "$KILLS_PER_HOUR" ]; then
    log "The service still fails its check after $KILLS_PER_HOUR restarts within the hour. Not restarting it again."
    exit 1
fi
# Without this record the limit would not hold.
date +%s >>"$kills" || exit 1
log "The service failed $misses checks in a row. Restarting it."
# All processes of this user except PID 1 and this one. Outside a container: the whole machine.
[ "$mode" != kill ] || kill -9 -1
exit 1
