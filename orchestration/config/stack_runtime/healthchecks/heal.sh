#!/bin/sh
# The health check of a container that also ends what is alive but useless, so that the restart
# policy starts it anew: Docker restarts nothing for being unhealthy.
#
#     heal.sh kill|tell MISSES CHECK…
#
# CHECK ends with 0: well; 3: not well, but for want of another service; else: a miss, as is no end
# within 8 s. MISSES in a row end the service, three times an hour at most; what is no better then
# is left as it is, for a person to see. `tell` never ends anything, nor does `kill` where a file
# `off` stands. PID 1 is an init, which ends with what it started; nothing else could be ended from
# inside.
set -u
act=$1
misses=$2
shift 2
state=${HEAL_STATE:-/tmp/heal}
STARTING_SECONDS=120
ENDED_PER_HOUR=3

say() {
    echo "heal: $1"
    # So that `inv logs` shows it.
    { echo "heal: $1" >/proc/1/fd/2; } 2>/dev/null || true
}

seconds_since_start() {
    read -r up _ </proc/uptime
    # Behind the name in brackets, which may hold blanks: the start is the 20th, in 1/100 s.
    # shellcheck disable=SC2046
    set -- $(sed 's/.*) //' /proc/1/stat)
    echo $((${up%.*} - ${20} / 100))
}

ended_within_the_hour() {
    now=$(date +%s)
    number=0
    [ ! -f "$state/ended" ] || while read -r moment; do
        [ $((now - moment)) -ge 3600 ] || number=$((number + 1))
    done <"$state/ended"
    echo "$number"
}

timeout 8 "$@"
said=$?
if [ "$said" -eq 0 ] || [ "$said" -eq 3 ]; then
    rm -f "$state/missed"
    exit $((said != 0))
fi
[ "$(seconds_since_start)" -gt "$STARTING_SECONDS" ] || exit 1
mkdir -p "$state"
[ ! -e "$state/off" ] || exit 1
echo >>"$state/missed"
[ "$(wc -l <"$state/missed")" -ge "$misses" ] || exit 1
rm -f "$state/missed"
if [ "$(ended_within_the_hour)" -ge "$ENDED_PER_HOUR" ]; then
    say "useless again, ended $ENDED_PER_HOUR times within the hour: left as it is"
    exit 1
fi
date +%s >>"$state/ended"
say "alive but useless at $misses checks in a row: ending it"
# Everything this user may end, except PID 1 and this: outside a container the whole machine.
[ "$act" != kill ] || kill -9 -1
exit 1
