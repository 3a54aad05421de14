#!/bin/sh
# Print the Python that `make` creates its environment with, or say what is missing and exit with 1.
#
#   scripts/find_python.sh            the first usable one of python3.11, python3, 3.12 and 3.13
#   scripts/find_python.sh PYTHON     PYTHON, if it is usable
#
# The tests run on 3.11, so it comes first. Usable means that it starts (a pyenv shim on PATH may not), is 3.11 or newer and can create an
# environment that has pip: Debian and Ubuntu ship ensurepip in a package of its own.

candidates=${1:-"python3.11 python3 python3.12 python3.13"}
problem="No Python found on PATH: looked for $candidates."
advice="Install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv)."

for name in $candidates; do
  version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  if ! "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    problem="$name is Python $version; VisionSweep needs 3.11 or newer."
    advice="Install a newer Python, or name one: make PYTHON=/path/to/python3.11"
  elif ! "$name" -c 'import ensurepip, venv' 2>/dev/null; then
    problem="$name is Python $version, which is new enough, but it has no venv or ensurepip module."
    advice="Install them (Debian, Ubuntu: apt install python$version-venv, or python3-venv for python3)."
  else
    echo "$name"
    exit 0
  fi
done
printf '%s\n%s\n' "$problem" "$advice" >&2
exit 1
