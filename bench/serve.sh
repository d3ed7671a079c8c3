#!/usr/bin/env bash
# Inference requests a second over HTTP with everything on, on one connection and on 64, with wrk on the same cores.
# Needs wrk (Debian) and a built slipway. Uses the classifier of the tests (iris, one row).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v wrk >/dev/null || { echo "error: wrk is not installed (apt-get install wrk)" >&2; exit 1; }
slipway=artifacts/bin/Slipway.Cli/release/slipway
data=$(mktemp -d)
started=$(date +%s%N)
"$slipway" serve --data "$data" --urls http://127.0.0.1:5690 >/dev/null 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$data"' EXIT
until curl -sf -o /dev/null http://127.0.0.1:5690/readyz; do sleep 0.02; done
echo "cold start to ready: $((($(date +%s%N) - started) / 1000000)) ms"
sleep 2
echo "memory after start: $(($(awk '/VmRSS/{print $2}' /proc/$server/status) / 1024)) MB"

api=http://127.0.0.1:5690
model=tests/Slipway.Tests/Serving/models/iris_logreg.onnx
json='Content-Type: application/json'
run=$(curl -sf -H "$json" -d '{"experiment_id":"0","start_time":1}' $api/api/2.0/mlflow/runs/create | sed 's/.*"run_id": *"\([0-9a-f]*\)".*/\1/')
curl -sf -o /dev/null -T "$model" "$api/api/2.0/mlflow-artifacts/artifacts/0/$run/artifacts/model/model.onnx"
curl -sf -o /dev/null -H "$json" -d '{"name":"iris"}' $api/api/2.0/mlflow/registered-models/create
curl -sf -o /dev/null -H "$json" -d "{\"name\":\"iris\",\"source\":\"mlflow-artifacts:/0/$run/artifacts/model\",\"run_id\":\"$run\"}" $api/api/2.0/mlflow/model-versions/create
curl -sf -o /dev/null -H "$json" -d '{"name":"iris","modelVersion":"iris/1"}' $api/api/v1/endpoints
cat >"$data/post.lua" <<'LUA'
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'
LUA
input=$(curl -sf $api/v2/models/iris | sed 's/.*"inputs":\[{"name":"\([^"]*\)".*/\1/')
sed -i "s/\"name\":\"X\"/\"name\":\"$input\"/" "$data/post.lua"
for connections in 1 64; do
  wrk -t1 -c$connections -d3s -s "$data/post.lua" $api/v2/models/iris/infer >/dev/null
  wrk -t1 -c$connections -d8s --latency -s "$data/post.lua" $api/v2/models/iris/infer | awk -v c=$connections '/50%/{p50=$2}/99%/{p99=$2}/Requests\/sec/{r=$2}/Non-2xx/{e=$0}END{printf "infer, %d connection(s): %s /s, p50 %s, p99 %s %s\n", c, r, p50, p99, e}'
done
