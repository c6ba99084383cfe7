#!/bin/sh
# fetch-data.sh PYTHON: gets Fashion-MNIST by download, else as Debian's package. Exit status 1 if neither works.
python=$1
fetch() {
    "$python" -m compression data fetch fashion-mnist
}

fetch && exit 0
if [ ! -d /usr/share/datasets/fashion-mnist ]; then
    scripts/apt-install.sh dataset-fashion-mnist && fetch && exit 0
fi
echo "Fashion-MNIST could not be fetched; the data set Digits works without it." >&2
exit 1
