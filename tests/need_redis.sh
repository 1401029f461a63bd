#!/bin/sh
# A real redis-server for the tests: found, or installed where this user may, or a sentence saying how.
command -v redis-server >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing redis-server (for the tests)"
  export DEBIAN_FRONTEND=noninteractive
  # The package starts a server of its own where it can; the tests start their own on a free port.
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server; } >/dev/null 2>&1
  command -v redis-server >/dev/null 2>&1 && exit 0
fi
echo "The tests need a real redis-server on PATH. Debian, Ubuntu: sudo apt-get install redis-server. macOS: brew install redis." >&2
exit 1
