#!/usr/bin/env bash
# The tests marked `realtime`: tests/realtime.sh PYTHON MARKERS [PYTEST OPTIONS]
#
# A shared machine may stall a real-time process for longer than the gate's limits allow, and then a run that several
# tests look at is spoilt for all of them. So what failed runs again, at most twice, in a process of its own, which makes
# every fixture anew; whatever fails three times fails. Anything but failed tests (1) ends at once.
set -uo pipefail
python=$1 markers=$2
shift 2

"$python" -m pytest -m "$markers" "$@"
code=$?
for _ in 2 3; do
    [ $code -eq 1 ] || break
    "$python" -m pytest -m "$markers" "$@" --last-failed --last-failed-no-failures none
    code=$?
done
exit $code
