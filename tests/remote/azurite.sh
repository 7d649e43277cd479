#!/bin/sh
# Runs the tests of buckets against a server that speaks Azure's Blob Storage: Azurite, from its registry, on the loopback interface.
# Needs node, npm, python3, and the registry once. Without them it says so and succeeds.
# TENURE_AZURITE names a directory for the server, which is kept; TENURE_REMOTE_KILLS sets the number of kills,
# TENURE_REMOTE_COMMITS that of commits before a follower.
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "SKIPPED: $1: the bucket of an Azure server was not tested" >&2; exit 0; }
for program in node npm python3; do
    command -v "$program" >/dev/null || skip "there is no $program"
done
modules=${TENURE_AZURITE:-target/azurite}
server=$modules/node_modules/.bin/azurite-blob
if [ ! -x "$server" ]; then
    mkdir -p "$modules"
    # Without it npm installs into a directory above that has one, or nowhere.
    [ -f "$modules/package.json" ] || echo '{}' >"$modules/package.json"
    npm install --silent --no-audit --no-fund --prefix "$modules" azurite || skip "azurite cannot be installed"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
"$server" --inMemoryPersistence --disableTelemetry --skipApiVersionCheck --silent --blobHost 127.0.0.1 --blobPort "$port" >"$log" 2>&1 &
process=$!
trap 'kill "$process" 2>/dev/null || true; rm -f "$log"' EXIT
# The emulator's own account and key, which are public, make the container.
PORT=$port python3 - <<'PYTHON' || { cat "$log" >&2; skip "azurite makes no container"; }
import base64, hashlib, hmac, os, time, urllib.error, urllib.request
from email.utils import formatdate
account = "devstoreaccount1"
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
canonical = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
signed = "PUT" + "\n" * 12 + canonical + f"/{account}/{account}/tenure\nrestype:container"
digest = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
url = f"http://127.0.0.1:{os.environ['PORT']}/{account}/tenure?restype=container"
for _ in range(300):
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers))
        break
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error}: {error.read().decode()}")
    except OSError:
        time.sleep(0.2)
PYTHON
export AZURE_STORAGE_USE_EMULATOR=true AZURITE_BLOB_STORAGE_URL="http://127.0.0.1:$port"
export TENURE_REMOTE_URL=az://tenure/tests
cargo test --locked --features cli,remote,planted --test remote -- --nocapture servers:: elsewhere:: kept::
