# Finds the Pythons of this machine; sourced by .ci/run and .ci/release.

find_python() { # VERSION...: the first of these Pythons that runs; pyenv's shims may exist and not run
    local version root candidate
    root="$HOME/.pyenv"
    if [ ! -d "$root" ] && command -v pyenv >/dev/null; then root="$(pyenv root)"; fi
    for version in "$@"; do
        for candidate in "python$version" "$root/versions/$version".*/bin/python; do
            if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
                "$candidate" -c "import sys; print(sys.executable)"
                return
            fi
        done
    done
    echo "none of these Pythons is here: $*; install one, with pyenv for example" >&2
    return 1
}
