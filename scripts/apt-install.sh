#!/bin/sh
# Installs Debian packages where no password is needed for it: as root, or with passwordless sudo.
# Exit status 1 where that is not so, or where apt-get does not have the package.
command -v apt-get >/dev/null || exit 1
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    exit 1
fi
echo "Installing $* with apt-get"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
