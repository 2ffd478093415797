#!/usr/bin/env bash
# Checks the lab with real clients that are not ours: an old and a current boto3, AWS CLI v1 and the AWS SDK for
# JavaScript v3, installed at pinned versions from their registries into a folder of their own.
#
#   .ci/clients/run.sh            uses target/debug/irsa, building it if need be
#   IRSA=/path/to/irsa .ci/clients/run.sh
#
# Ends with a line "N passed, N failed". Node.js clients ignore proxies, so they need a network namespace and thereby
# root; without it those checks count as failed unless IRSA_CLIENTS_WITHOUT_NODE=1 says that they are not wanted.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
cache="${IRSA_CLIENTS_CACHE:-${CARGO_TARGET_DIR:-$root/target}/clients}"
mkdir -p "$cache"

if [ -z "${IRSA:-}" ]; then
  (cd "$root" && cargo build --quiet -p irsa)
  IRSA="${CARGO_TARGET_DIR:-$root/target}/debug/irsa"
fi

# Each client is installed once per pinned list: the stamp is the list itself.
python_client() {
  local name="$1" list="$here/$1.txt"
  if ! cmp -s "$list" "$cache/$name/installed.txt" 2>/dev/null; then
    rm -rf "${cache:?}/$name"
    python3 -m venv "$cache/$name"
    "$cache/$name/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list"
    cp "$list" "$cache/$name/installed.txt"
  fi
}
python_client boto-old
python_client boto-new
python_client awscli-v1

if [ "${IRSA_CLIENTS_WITHOUT_NODE:-}" != 1 ] && ! cmp -s "$here/js/package-lock.json" "$cache/js/installed.json" 2>/dev/null; then
  rm -rf "${cache:?}/js"
  mkdir -p "$cache/js"
  cp "$here/js/package.json" "$here/js/package-lock.json" "$cache/js/"
  (cd "$cache/js" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  cp "$here/js/package-lock.json" "$cache/js/installed.json"
fi
cp "$here/probe.mjs" "$cache/js/" 2>/dev/null || true

exec python3 "$here/check.py" --irsa "$IRSA" --clients "$cache" --probe "$here/probe.py"
