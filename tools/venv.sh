# Sourced by quickstart and test, in the root of the checkout.

debian_install() { # package...: install from Debian's packages, as root or by sudo; says what to do if neither
    local sudo=()
    if ! command -v apt-get >/dev/null; then
        echo "please install, by your system's means: $*" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || { ! sudo -n true 2>/dev/null && [ ! -t 0 ]; }; then
            echo "please run as root: apt-get install $*" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    echo "== installing $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

make_venv() { # extras: a virtual environment in .venv with this checkout and those extras, on PATH
    local extras=$1 python=${PYTHON:-python3} stamp
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "xcluster needs Python 3.11 or newer; $python is $("$python" --version 2>&1)" >&2
        return 1
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then # Debian has it in a package of its own
        debian_install python3-venv
    fi
    if [ ! -x .venv/bin/python ]; then
        echo "== making .venv"
        "$python" -m venv .venv
    fi
    stamp=.venv/installed-${extras//,/-}
    if ! cmp -s setup.py "$stamp"; then
        echo "== installing xcluster and what it needs into .venv"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
        cp setup.py "$stamp"
    fi
    PATH=$PWD/.venv/bin:$PATH
    export PATH
}
