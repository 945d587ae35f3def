#!/usr/bin/env bash
# Checks for what building RocksDB needs: a C++ compiler and libclang with its headers. Installs what is missing where
# it can (apt, as root or with sudo), else says in one line what to type.
set -u

have_compiler() { command -v c++ >/dev/null && echo 'int main(){}' | c++ -std=c++20 -x c++ -fsyntax-only - 2>/dev/null; }

have_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then return 0; fi
    if [ "$(uname)" = Darwin ]; then xcrun --find clang >/dev/null 2>&1; return; fi
    # bindgen finds libclang by itself, but a libclang without its own headers cannot parse a line.
    local lib
    for lib in /usr/lib/llvm-*/lib/libclang{.so*,-[0-9]*.so*} /usr/lib/*/libclang{.so*,-[0-9]*.so*} /usr/lib{,64}/libclang.so*; do
        [ -e "$lib" ] || continue
        compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return 0
        compgen -G '/usr/lib/clang/*/include/stddef.h' >/dev/null && return 0
        compgen -G '/usr/lib64/clang/*/include/stddef.h' >/dev/null && return 0
    done
    return 1
}

if ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing. Install it with rustup (https://rustup.rs), then run this command again." >&2
    exit 1
fi

missing=()
have_compiler || missing+=(g++)
have_libclang || missing+=(clang)
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v apt-get >/dev/null; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
    if [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; then
        echo "setup: installing ${missing[*]} with apt" >&2
        "${as_root[@]}" apt-get update -q >/dev/null || true
        # A current clang where the distribution has one, else its default.
        clang=clang
        apt-cache show clang-19 >/dev/null 2>&1 && clang=clang-19
        packages=("${missing[@]/#clang/$clang}")
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null
    fi
fi

if have_compiler && have_libclang; then exit 0; fi
echo "setup: a C++20 compiler and libclang are missing. Debian: sudo apt install g++ clang   Fedora: sudo dnf install gcc-c++ clang   macOS: xcode-select --install" >&2
exit 1
