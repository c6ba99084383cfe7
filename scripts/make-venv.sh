#!/bin/sh
# make-venv.sh FOLDER [PYTHON]: makes a virtual environment with PYTHON, or else with the first Python >= 3.11 found.
set -e
folder=$1
wanted=$2

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

for python in ${wanted:-python3 python3.13 python3.14 python3.12 python3.11 python}; do
    if fits "$python"; then break; fi
    python=""
done
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed; ${wanted:-python3} is not. Name one with: make setup PYTHON=python3.13" >&2
    exit 1
fi
# Debian ships venv's half (ensurepip) in a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    scripts/apt-install.sh "python$version-venv" || {
        echo "$python has no module ensurepip: install it (on Debian: apt-get install python$version-venv)." >&2
        exit 1
    }
fi
echo "Making $folder with $("$python" --version)"
rm -f "$folder"/.installed*
"$python" -m venv "$folder"
