#!/bin/sh
# Runs the tests of buckets against Ceph's S3 gateway: one monitor, one OSD in memory, one radosgw, all on the loopback interface.
# Needs Debian's packages ceph-mon, ceph-osd, ceph-common and radosgw, python3 and curl. Without them it says so and succeeds.
# TENURE_REMOTE_KILLS sets the number of kills,
# TENURE_REMOTE_COMMITS that of commits before a follower.
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "SKIPPED: $1: the bucket of a Ceph gateway was not tested" >&2; exit 0; }
for program in ceph-mon ceph-osd ceph ceph-authtool monmaptool radosgw radosgw-admin python3 curl; do
    command -v "$program" >/dev/null || skip "there is no $program"
done
dir=$(mktemp -d)
daemons=
# shellcheck disable=SC2086
trap 'kill $daemons 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) monitor=$(free_port)
fsid=$(python3 -c 'import uuid; print(uuid.uuid4())')
export CEPH_CONF="$dir/ceph.conf"
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$monitor]
public addr = 127.0.0.1
run dir = $dir
admin socket =
log file = $dir/\$name.log
mon data = $dir/mon
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
keyring = $dir/keyring
rgw frontends = beast endpoint=127.0.0.1:$port
[osd]
keyring = $dir/osd/keyring
CONF
mkdir "$dir/mon" "$dir/osd"
failed() { tail -n 5 "$dir"/*.log >&2 2>/dev/null; skip "$1"; }
quiet() { "$@" >>"$dir/setup.log" 2>&1; }
quiet ceph-authtool --create-keyring "$dir/keyring" --gen-key --name mon. --cap mon 'allow *'
quiet ceph-authtool "$dir/keyring" --gen-key --name client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
quiet monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor]" "$dir/monmap"
quiet ceph-mon --mkfs --id a --monmap "$dir/monmap" --keyring "$dir/keyring" || failed "the monitor cannot be made"
ceph-mon --foreground --id a >>"$dir/setup.log" 2>&1 &
daemons="$!"
quiet timeout 60 ceph osd create "$fsid" 0 || failed "the monitor does not answer"
quiet ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' -o "$dir/osd/keyring"
quiet ceph-osd --mkfs --id 0 --osd-uuid "$fsid" || failed "the OSD cannot be made"
ceph-osd --foreground --id 0 >>"$dir/setup.log" 2>&1 &
daemons="$daemons $!"
radosgw --foreground --name client.admin --keyring "$dir/keyring" >>"$dir/setup.log" 2>&1 &
daemons="$daemons $!"
for _ in $(seq 300); do
    curl --silent --output /dev/null "http://127.0.0.1:$port/" && break
    sleep 0.2
done
quiet timeout 60 radosgw-admin user create --uid tests --display-name tests --access-key tests --secret-key tests ||
    failed "the gateway has no user"
# These are no secret.
export AWS_ACCESS_KEY_ID=tests AWS_SECRET_ACCESS_KEY=tests AWS_REGION=us-east-1
export AWS_ENDPOINT="http://127.0.0.1:$port" AWS_ALLOW_HTTP=true
date=$(date --utc +'%a, %d %b %Y %H:%M:%S GMT')
signature=$(DATE="$date" python3 -c '
import base64, hashlib, hmac, os
signed = "PUT\n\n\n" + os.environ["DATE"] + "\n/tenure"
print(base64.b64encode(hmac.new(b"tests", signed.encode(), hashlib.sha1).digest()).decode())')
curl --silent --fail --output /dev/null --request PUT --header "Date: $date" --header "Authorization: AWS tests:$signature" \
    "$AWS_ENDPOINT/tenure" || failed "the gateway makes no bucket"
export TENURE_REMOTE_URL=s3://tenure/tests
cargo test --locked --features cli,remote,planted --test remote -- --nocapture servers:: elsewhere:: kept::
