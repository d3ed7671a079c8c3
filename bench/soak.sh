#!/usr/bin/env bash
# Serves for a while under load, with versions swapped and bad requests in between, and tells whether memory stays flat: resident megabytes every
# ten seconds, and their slope by least squares over the second half. Fails if a good request failed.
# usage: soak.sh [MINUTES]    (30)
#   PAUSE    milliseconds that each of the 16 connections waits between requests (0: as fast as it goes)
set -euo pipefail
cd "$(dirname "$0")/.."
command -v wrk >/dev/null || { echo "error: wrk is not installed (apt-get install wrk)" >&2; exit 1; }
minutes=${1:-30}
slipway=artifacts/bin/Slipway.Cli/release/slipway
bench=artifacts/bin/Slipway.Benchmarks/release/Slipway.Benchmarks
models=tests/Slipway.Tests/Serving/models
port=${PORT:-5695}
api=http://127.0.0.1:$port
json='Content-Type: application/json'
work=$(mktemp -d)
"$slipway" serve --data "$work/data" --urls "$api" --grpc-urls "http://127.0.0.1:$((port + 1))" >"$work/log" 2>&1 &
server=$!
trap 'kill $server $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
until curl -sf -o /dev/null "$api/readyz"; do sleep 0.05; done

run=$(curl -sf -H "$json" -d '{"experiment_id":"0","start_time":1}' "$api/api/2.0/mlflow/runs/create" | sed 's/.*"run_id": *"\([0-9a-f]*\)".*/\1/')
curl -sf -o /dev/null -T "$models/iris_logreg.onnx" "$api/api/2.0/mlflow-artifacts/artifacts/0/$run/artifacts/model/model.onnx"
curl -sf -o /dev/null -H "$json" -d '{"name":"iris"}' "$api/api/2.0/mlflow/registered-models/create"
for _ in 1 2; do
  curl -sf -o /dev/null -H "$json" -d "{\"name\":\"iris\",\"source\":\"mlflow-artifacts:/0/$run/artifacts/model\",\"run_id\":\"$run\"}" "$api/api/2.0/mlflow/model-versions/create"
done
curl -sf -o /dev/null -H "$json" -d '{"name":"iris","modelVersion":"iris/1"}' "$api/api/v1/endpoints"
length=$("$bench" body "$models/iris_logreg.onnx" 1 "$work/iris")

seconds=$((minutes * 60))
BODY=$work/iris.json JSON_LENGTH= wrk -t1 -c8 -d"${seconds}s" --latency -s bench/post.lua "$api/v2/models/iris/infer" >"$work/json.txt" &
BODY=$work/iris.bin JSON_LENGTH=$length wrk -t1 -c8 -d"${seconds}s" --latency -s bench/post.lua "$api/v2/models/iris/infer" >"$work/binary.txt" &
end=$((SECONDS + seconds)) start=$SECONDS version=1
while [ $SECONDS -lt $end ]; do
  sleep 10
  rss=$(($(awk '/VmRSS/{print $2}' "/proc/$server/status") / 1024))
  echo "$((SECONDS - start)) $rss" | tee -a "$work/rss.txt"
  # A rollback and refusals while the traffic goes on.
  version=$((3 - version))
  curl -sf -o /dev/null -H "$json" -d "{\"modelVersion\":\"iris/$version\",\"cause\":\"soak\"}" "$api/api/v1/endpoints/iris/deploy"
  curl -s -o /dev/null -d '{"inputs":[{"name":"X","shape":[1,99],"datatype":"FP32","data":[1]}]}' "$api/v2/models/iris/infer"
  curl -s -o /dev/null -d '{"inputs":[' "$api/v2/models/iris/infer"
done
wait %2 %3 2>/dev/null || true
cat "$work/json.txt" "$work/binary.txt" | grep -E 'Requests/sec|99%|Non-2xx|Socket errors' || true
awk -v half=$((seconds / 2)) '$1 >= half {n++; x+=$1; y+=$2; xy+=$1*$2; xx+=$1*$1} END {d=n*xx-x*x; printf "resident memory: mean %.0f MB, slope %.2f MB a minute over the second half\n", y/n, d ? (n*xy-x*y)/d*60 : 0}' "$work/rss.txt"
curl -sf "$api/metrics" | grep -E '^slipway_predictions_(written|dropped)' || true
! grep -q 'Non-2xx' "$work/json.txt" "$work/binary.txt"
