#!/usr/bin/env bash
# What surprised: hatchling walks through the folders that .gitignore names, too, follows the links in them, and goes into
#   no directory twice. Where such a link leads back into the tree, the folder that it leads to is seen there, ignored,
#   and is missing in the source distribution. No word is said. `skip-excluded-dirs = true` keeps it out of them.
# Seen with: hatchling 1.33.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: its distributors test what they package. Here a whole Debian lay in an ignored
#   folder of the tree, with a link that some test had left in its /tmp, and the source distribution had no tests.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hatchling==1.33.0
mkdir -p "$folder/project/tests" "$folder/project/.aside"
cd "$folder/project"
cat > pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "thing"
version = "1"
[tool.hatch.build.targets.sdist]
include = ["/tests"]
TOML
echo ".aside/" > .gitignore
touch tests/test_thing.py

built() {
  "$folder/venv/bin/hatchling" build -t sdist > /dev/null 2>&1
  echo "$1: $(tar -tf dist/thing-1.tar.gz | grep -c test_thing.py) file of tests"
}

"$folder/venv/bin/python" --version
{
  built "without a link"
  ln -s ../tests .aside/tests
  built "with a link in an ignored folder"
  printf '[tool.hatch.build]\nskip-excluded-dirs = true\n' >> pyproject.toml
  built "with skip-excluded-dirs"
} | tee "$folder/seen"
[ "$(cut -d: -f2 "$folder/seen" | tr -cd 0-9)" = 101 ] || { echo "this has changed"; exit 1; }
