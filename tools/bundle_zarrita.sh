#!/usr/bin/env bash
# Puts zarrita.js and its codecs, with their licences, into the page that `zarrstore serve` shows. Run it to take a
# newer version, and commit what changed: nothing is built when the package is.
set -euo pipefail
zarrita=0.7.5 numcodecs=0.3.2 esbuild=0.28.2
tools="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
page="$tools/../src/zarrstore/serve/page"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-save "zarrita@$zarrita" "numcodecs@$numcodecs" "esbuild@$esbuild"
echo 'export { FetchStore, open, get, slice } from "zarrita";' >zarrita.js
npx esbuild zarrita.js --bundle --format=esm --minify --splitting --legal-comments=none \
    --chunk-names='zarrita-[name]' --outdir=out --log-level=warning
rm -f "$page"/zarrita*.js
# The server gives a file of the page to whoever asks for it by name, whatever the path.
for file in out/*.js; do
    sed -e 's|"\./\(zarrita-[a-z0-9-]*\.js\)"|"./?asset=\1"|g' "$file" >"$page/$(basename "$file")"
done
{
    echo "The files zarrita*.js are made by tools/bundle_zarrita.sh of zarrita $zarrita, @zarrita/storage and numcodecs"
    echo "$numcodecs, which are under these licences:"
    for package in zarrita @zarrita/storage numcodecs; do
        printf '\n== %s\n\n' "$package"
        cat "node_modules/$package/LICENSE"
    done
    printf '\nnumcodecs has these libraries in it, compiled to WebAssembly:\n'
    cat "$tools/compiled_licences.txt"
} >"$page/LICENCES.txt"
