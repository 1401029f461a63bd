#!/bin/sh
# promtool and prometheus for the tests of the alerts and the dashboard: found, or taken out of Debian's package into
# var/prometheus. It is not installed, since that would start a server. Without it those tests skip and say so.
command -v promtool >/dev/null 2>&1 && command -v prometheus >/dev/null 2>&1 && exit 0
home=$(cd "$(dirname "$0")/.." && pwd)/var/prometheus
test -x "$home/usr/bin/promtool" && test -x "$home/usr/bin/prometheus" && exit 0
if command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1; then
  echo "fetching prometheus (for the tests)"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # The list of packages may be missing or older than what is served; only root may renew it.
  { (cd "$scratch" && apt-get download -qq prometheus) || { test "$(id -u)" = 0 && apt-get update -qq && (cd "$scratch" && apt-get download -qq prometheus); }; } >/dev/null 2>&1
  for package in "$scratch"/*.deb; do
    test -f "$package" && dpkg-deb -x "$package" "$scratch/root" && mkdir -p "$home/usr/bin" \
      && cp "$scratch/root/usr/bin/promtool" "$scratch/root/usr/bin/prometheus" "$home/usr/bin/" && exit 0
  done
fi
echo "no prometheus on PATH: the tests that need one skip (Debian, Ubuntu: the package prometheus; macOS: brew install prometheus)" >&2
exit 0
