#!/usr/bin/env bash
# The whole suite over and over: ten times idle, ten times beside a full load on every core, and with 1, 2 and 8 test
# threads. Prints a table; exit code 1 if any run failed. `make check-flaky` runs it.
#
#   tests/repeat.sh [RUNS]        runs of each of the first two (default 10)
#   FILTER=stream:: tests/repeat.sh 3
set -uo pipefail
cd "$(dirname "$0")/.."
runs=${1:-10}
logs=target/repeat
mkdir -p "$logs"
cores=$(nproc)
# As .cargo/config.toml sets it: the programs are started without cargo.
export ORT_DISABLE_TELEMETRY=1

cargo test --locked --release --no-run || exit 1
# The test programs, as cargo names them: those of the library, of the binary and of tests/.
mapfile -t programs < <(cargo test --locked --release --no-run --message-format=json 2>/dev/null |
  python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message.get("executable"):
        print(message["executable"])')

load_pids=()
load() { for _ in $(seq "$cores"); do (while :; do :; done) & load_pids+=($!); done; }
unload() { [ ${#load_pids[@]} -eq 0 ] || kill "${load_pids[@]}" 2>/dev/null; load_pids=(); }
trap unload EXIT

failed=0
printf '%-12s %-8s %-8s %-10s %s\n' kind run seconds result failures
# one KIND RUN [TEST ARGUMENTS]
one() {
  local kind=$1 run=$2 log="$logs/$1-$2.log" result=ok
  shift 2
  local begun=$SECONDS
  : >"$log"
  for program in "${programs[@]}"; do
    CARGO_MANIFEST_DIR=$PWD "$program" ${FILTER:-} "$@" >>"$log" 2>&1 || result=FAILED
  done
  local names
  names=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | paste -sd' ')
  [ $result = ok ] || failed=1
  printf '%-12s %-8s %-8s %-10s %s\n' "$kind" "$run" $((SECONDS - begun)) $result "$names"
}

for run in $(seq "$runs"); do one idle "$run"; done
load
for run in $(seq "$runs"); do one loaded "$run"; done
unload
for threads in 1 2 8; do one "threads-$threads" 1 --test-threads "$threads"; done
echo "logs of the runs: $logs"
exit $failed
