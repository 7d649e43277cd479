#!/bin/sh
# Runs the tests of buckets against a server that speaks S3: moto, from its registry, on the loopback interface.
# Needs python3 with venv, curl, and the registry once. Without them it says so and succeeds.
# TENURE_MOTO names a directory for the virtual environment, which is kept; TENURE_REMOTE_KILLS sets the number of kills,
# TENURE_REMOTE_PROXY that of rounds behind a proxy that loses answers, delays them and gives others, and TENURE_REMOTE_COMMITS
# that of commits before a follower.
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "SKIPPED: $1: the bucket of a real server was not tested" >&2; exit 0; }
command -v python3 >/dev/null || skip "there is no python3"
command -v curl >/dev/null || skip "there is no curl"
venv=${TENURE_MOTO:-target/moto}
if [ ! -x "$venv/bin/moto_server" ]; then
    python3 -m venv "$venv" >/dev/null 2>&1 || skip "python3 makes no virtual environment"
    "$venv/bin/pip" install --quiet 'moto[server]' || skip "moto cannot be installed"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
"$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 300); do
    curl --silent --output /dev/null "http://127.0.0.1:$port/" && break
    sleep 0.2
done
curl --silent --fail --output /dev/null --request PUT "http://127.0.0.1:$port/tenure" || { cat "$log" >&2; exit 1; }
# The server takes any credentials; these are no secret.
export AWS_ACCESS_KEY_ID=tests AWS_SECRET_ACCESS_KEY=tests AWS_REGION=us-east-1
export AWS_ENDPOINT="http://127.0.0.1:$port" AWS_ALLOW_HTTP=true
export TENURE_REMOTE_URL=s3://tenure/tests
cargo test --locked --features cli,remote,planted --test remote -- --nocapture servers:: proxied:: elsewhere:: kept::
