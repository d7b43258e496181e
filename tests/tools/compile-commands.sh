#!/bin/bash
# compile_commands.json for the given sources: compile-commands.sh 'COMPILER FLAGS' FILE...
command=$1; shift
separator='['
for file in "$@"; do
  printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' "$separator" "$PWD" "$file" \
    "$(printf '%s' "$command" | sed 's/["\\]/\\&/g')" "$file"
  separator=','
done
printf '\n]\n'
