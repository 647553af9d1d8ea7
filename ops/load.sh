#!/bin/sh
# A little of everything, each second, so that graphs move: notes that pass, a refund that lacks its ticket, an action without a rule, a
# duplicate.
#
#   load.sh KEY WHERE...      WHERE as `writ submit` takes it: --data DIR | --url URL | --kafka HOST:PORT
set -u
key=$1
shift
run=$(date +%s)
intent() {
  printf '{"tenant":"acme","id":"%s","principal":"agent-1","action":"%s","args":%s,"expires_at":%s000000}\n' "$@"
}
n=0
while sleep 1; do
  expires=$(($(date +%s) + 3600))
  {
    intent "load-$run" notes.add '{"text":"the same again"}' $((run + 86400))
    for i in 1 2 3 4 5 6 7 8 9; do
      intent "load-$run-$n-$i" notes.add '{"text":"hello"}' $expires
    done
    intent "load-$run-$n-refund" payments.refund '{"amount_cents":4200}' $expires
    [ $((n % 5)) != 0 ] || intent "load-$run-$n-none" rockets.launch '{}' $expires
  } | "${WRIT:-writ}" submit "$@" --key "$key" >/dev/null
  # 1 says that some were refused, as they are meant to be.
  [ $? -le 1 ] || echo "load: writ submit failed; it is tried again" >&2
  n=$((n + 1))
done
