#!/bin/sh
# find-browser.sh PYTHON: a Chromium for the browser tests: the system's, else Debian's package, else Playwright's.
python=$1
installed() {
    command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable
}

# The pages speak Chinese too, which the browser needs characters for.
command -v fc-list >/dev/null && [ -z "$(fc-list :lang=zh)" ] && scripts/apt-install.sh fonts-noto-cjk

installed && exit 0
scripts/apt-install.sh chromium && installed && exit 0
"$python" -m playwright install chromium && exit 0
echo "The browser tests need Chromium: install the package chromium, then run make test again." >&2
exit 1
