#!/bin/sh
# A team on this machine, without containers: PostgreSQL (where its programs are installed), a scheduler, two workers,
# the app, and a test provider of sign-ins that takes everybody for who they say they are. For tests alone.
#
#   scripts/team-local.sh [FOLDER [PORT]]     FOLDER keeps everything (default: a new one); Ctrl+C ends all of it
#
# Ports: PORT app (default 8601), PORT+1 provider, PORT+2 scheduler. ann is admin, bob user, vic viewer, eve nobody.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
folder=${1:-$(mktemp -d)} port=${2:-8601}
mkdir -p "$folder/app" "$folder/worker-1" "$folder/worker-2"
folder=$(cd "$folder" && pwd)
started=""

ended() {
    trap - EXIT INT TERM
    for process in $started; do kill "$process" 2>/dev/null || true; done
    if [ -n "${postgres:-}" ]; then $postgres pg_ctl -D "$database/data" -m fast -s stop || true; rm -rf "$database"; fi
    wait
}
trap ended EXIT
trap 'exit 130' INT TERM

begin() {  # NAME COMMAND...
    name=$1; shift
    "$@" >"$folder/$name.log" 2>&1 &
    started="$! $started"
    echo "$name: process $!, log $folder/$name.log"
}

again() {  # COMMAND...: begun anew whenever it ends, as `restart: unless-stopped` does it for a container
    trap 'kill "$process" 2>/dev/null || true; wait "$process" || true; exit' TERM
    while :; do
        "$@" &
        process=$!
        wait "$process" || true
        sleep 1
    done
}

if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
    database=$(mktemp -d) postgres=env
    if [ "$(id -u)" = 0 ]; then chown postgres "$database"; postgres="runuser -u postgres --"; fi
    (cd /tmp && $postgres initdb -D "$database/data" -A trust -U lab --no-sync >"$folder/postgres.log")
    (cd /tmp && $postgres pg_ctl -D "$database/data" -w -s -l "$database/log" \
        -o "-c listen_addresses='' -k $database" start)
    export COMPRESSION_DATABASE="postgresql://lab@/postgres?host=$database"
    echo "database: $COMPRESSION_DATABASE"
fi

cat >"$folder/team.yaml" <<END
members: {ann@example.org: admin, bob@example.org: user, vic@example.org: viewer}
quotas: {user: {minutes: 120, uploads: 20, gigabytes: 10}}
END
cat >"$folder/secrets.toml" <<END
[auth]
redirect_uri = "http://localhost:$port/oauth2callback"
cookie_secret = "$($python -c 'import secrets; print(secrets.token_urlsafe(32))')"
client_id = "compression-lab"
client_secret = "a test's"
server_metadata_url = "http://127.0.0.1:$((port + 1))/.well-known/openid-configuration"
client_kwargs = {scope = "openid email"}
END

export COMPRESSION_CERTIFICATES="$folder/certificates"
[ -e "$COMPRESSION_CERTIFICATES/key.pem" ] || $python -m compression certificates "$COMPRESSION_CERTIFICATES" >/dev/null
begin provider "$python" -m tests.oidc_provider "$((port + 1))"
begin scheduler "$python" -m compression scheduler --port "$((port + 2))" --certificates "$COMPRESSION_CERTIFICATES"
for number in 1 2; do
    begin "worker-$number" again env COMPRESSION_HOME="$folder/worker-$number" "$python" -m compression worker \
        "tls://127.0.0.1:$((port + 2))" --name "worker-$number" --certificates "$COMPRESSION_CERTIFICATES"
done
begin app env COMPRESSION_HOME="$folder/app" COMPRESSION_TEAM="$folder/team.yaml" \
    COMPRESSION_SCHEDULER="tls://127.0.0.1:$((port + 2))" "$python" -m streamlit run app.py \
    --server.port "$port" --server.headless true --secrets.files "$folder/secrets.toml"
echo "app: http://localhost:$port"
wait
