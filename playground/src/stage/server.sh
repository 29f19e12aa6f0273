#!/bin/sh
# Stands for a server in the tests of stage.rs.
code=0
[ "${0##*/}" = worker ] && code=$WORKER_ENDS_WITH
trap 'touch "$0-$2-drained"; exit "$code"' TERM
echo '{"fields":{"message":"ready","address":"127.0.0.1:1"}}' >&2
while :; do sleep 0.02; done
