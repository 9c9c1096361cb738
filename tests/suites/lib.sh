# shellcheck shell=bash
# Functions of the suites, which are sourced in the root of the repository, and in booted systems in /tests.
#
# A suite prints one line for each test: "ok NAME", "not ok NAME" or "skip NAME: REASON". "skip NAME (N tests): REASON" stands
# for N tests. A suite exits with 0 if it ran to its end, even if tests failed.
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

whole() { # NAME COMMAND...: one test, which prints its output only if it fails
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok $name"
    else
        printf '%s\n' "$output" | tail -n 40
        echo "not ok $name"
        return 1
    fi
}

# Runs a function as one test in a subshell. The test fails if one of its commands fails.
check() { # NAME FUNCTION...
    local name=$1 status output=${output_folder:-/tmp}/suite-output.$BASHPID
    shift
    (set -eux; "$@") >"$output" 2>&1
    status=$?
    if [ -e "$output.skip" ]; then
        echo "skip $name: $(cat "$output.skip")"
    elif [ $status -eq 0 ]; then
        echo "ok $name"
    else
        echo "--- $name (status $status):"
        tail -n 40 "$output"
        echo "not ok $name"
    fi
    rm -f "$output"*
}
cannot_run() { # REASON: ends the test of `check` as skipped
    echo "$1" >"$output.skip"
    exit
}

tests_of() { sed -n 's/^test_\(\w*\)() .*/\1/p' "$1" | tr _ -; } # FILE: names of its functions test_NAME
run_tests() { # PREFIX FILE: all tests of a sourced file, in their order
    local name
    for name in $(tests_of "$2"); do check "$1-$name" "test_${name//-/_}"; done
}

# Waits until the command succeeds; fails after SECONDS.
within() { # SECONDS COMMAND...
    { local flags=$-; set +x; } 2>/dev/null
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -le $until ] || { echo "timed out: $*"; return 1; }
        sleep 0.05
    done
    case $flags in *x*) set -x ;; esac
}

# Fails if the command has another exit code.
gives() { # CODE COMMAND...
    local wanted=$1 code=0
    shift
    "$@" || code=$?
    [ $code -eq "$wanted" ] || { echo "$* gave $code, not $wanted"; return 1; }
}

absent() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

has() { # COMMAND, python:MODULE or perl:MODULE
    case $1 in
        # Only Debian's Python has the modules of packages, but another Python may come first in PATH.
        python:*) /usr/bin/python3 -c "import ${1#*:}" ;;
        perl:*) perl -M"${1#*:}" -e 1 ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}
need() { # WHAT=PACKAGE...: as root, installs what is missing; fails if something is still missing
    local missing=() pair log=$CARGO_TARGET_DIR/packages.log apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
    for pair; do has "${pair%%=*}" || missing+=("${pair#*=}"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    mkdir -p "$CARGO_TARGET_DIR"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${missing[*]}"
        { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1
    fi
    for pair; do
        has "${pair%%=*}" || { echo "missing: ${pair%%=*} of ${pair#*=}, see $log"; return 1; }
    done
}

skip_suite() { # SUITE REASON
    echo "skip $1 ($(tests/suites/readme/named-tests --list | grep -c "^$1[-:]") tests): $2"
    exit 0
}
build() { # SUITE [--release]
    cargo build --quiet --locked "${@:2}" || { echo "not ok $1-program-builds"; exit 0; }
}

# The collectors. A test compares docs/configuration.md with their list.
tables_with_output() { sed -n 's/^\[\(.*\)\].*/\1/; t table; /^output = /{ x; p; x; }; d; :table; h' docs/configuration.md; }
make_vm() { # DIRECTORY DISK...: makes the kernel files of a VMware VM with four vCPUs and these disks
    local directory=$1 disk
    shift
    mkdir -p "$directory"/{proc,sys/block,sys/class/dmi/id,sys/devices/system/cpu}
    echo "VMware, Inc." >"$directory/sys/class/dmi/id/sys_vendor"
    echo 0-3 >"$directory/sys/devices/system/cpu/online"
    for disk; do
        mkdir -p "$directory/sys/block/${disk//\//!}/device"
        echo "8 0 $disk 1 0 8 1 1 0 8 1 0 1 1"
    done >"$directory/proc/diskstats"
}
configure() { # DIRECTORY [KEY = VALUE]...: writes gatherer.toml, with every output and the kernel files, if any, in the directory
    local name
    mkdir -p "$1/state"
    {
        for name in proc sys; do [ ! -e "$1/$name" ] || echo "host.$name = \"$1/$name\""; done
        printf '%s\n' "log_file = \"$1/log\"" "state_dir = \"$1/state\"" "host.run = \"$1/run\""
        tables_with_output | sed "s|.*|&.output = \"$1/&\"|"
        printf '%s\n' "${@:2}"
    } >"$1/gatherer.toml"
}
