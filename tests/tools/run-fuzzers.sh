#!/bin/bash
# Runs every fuzz target in DIR for SECONDS each; stops at the first crash, whose input is left in DIR.
#   run-fuzzers.sh DIR SECONDS
set -euo pipefail
scenarios=$PWD/tests/scenarios
cd "$1"
mkdir -p corpus-json_fuzz
cp "$scenarios"/*.json corpus-json_fuzz/
ran=0
for target in *_fuzz; do
  [ -f "$target" ] || continue  # corpora are directories
  mkdir -p "corpus-$target"
  echo "== $target"
  "./$target" -max_total_time="$2" -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 "corpus-$target" 2>&1 | tail -n 12
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { echo "no fuzz target was built" >&2; exit 1; }
echo "$ran fuzz targets, no crash"
