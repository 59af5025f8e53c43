# Media that the default gate does not need: for real machines, for disks of 4K sectors, and for arm64. Sourced by lib.sh.
# shellcheck shell=bash

kernel_hardware=$top/target/kernel-hardware
kernel_arm64=$top/target/kernel-arm64
rust_arm64=$top/target/rust-arm64
static_arm64=$top/target/static-arm64/aarch64-unknown-linux-gnu/agent

# Compilers for arm64, and a machine with firmware that runs it.
arm64_packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm qemu-efi-aarch64)
# Firmware that network interfaces and host bus adapters load, as far as this host's apt knows the packages: most of
# them are not free software, and not in the sources of every host.
firmware_packages=(firmware-linux-free firmware-misc-nonfree firmware-bnx2 firmware-bnx2x firmware-realtek firmware-qlogic
    firmware-cavium firmware-myricom firmware-netxen)

# Runs a command of apt as for another suite or architecture, or both, with lists, cache and sources of its own under
# target/apt: the host's packages and its architectures are left alone. Mirror and keys are those of the host's Debian.
#   foreign_apt SUITE|host ARCHITECTURE COMMAND...
foreign_apt() {
    local suite=$1 architecture=$2 state=$top/target/apt/$1-$2
    shift 2
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    local options=(-o "Dir::State=$state" -o "Dir::Cache=$state/cache" -o "Dir::State::status=$state/status"
        -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=- -o "APT::Architecture=$architecture"
        -o "APT::Architectures=$architecture" -o APT::Sandbox::User= -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    if [ ! -s "$state/sources.list" ]; then
        foreign_sources "$suite" >"$state/sources.part" || return
        mv "$state/sources.part" "$state/sources.list"
        apt-get -q "${options[@]}" update >&2 || { rm -f "$state/sources.list" && return 1; }
    fi
    local command=$1
    shift
    "$command" "${options[@]}" "$@"
}

# The host's Debian sources, with their suites or with another one.
foreign_sources() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed='' targets uri release
    [ ! -f $keyring ] || signed="[signed-by=$keyring] "
    targets=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' | sort -u)
    if [ -z "$targets" ]; then
        printf 'apt has no lists of Debian here; run this once on a Debian: sudo apt-get update\n' >&2
        return 1
    fi
    while read -r uri release; do
        if [ "$1" = host ]; then
            printf 'deb %s%s %s main\n' "$signed" "$uri" "$release"
        elif [[ $release != *-* ]]; then
            printf 'deb %s%s %s main\n' "$signed" "$uri" "$1"
            return
        fi
    done <<<"$targets"
}

host_apt() { "$@"; }
arm64_apt() { foreign_apt host arm64 "$@"; }
newer_apt() { foreign_apt testing amd64 "$@"; }
newer_arm64_apt() { foreign_apt testing arm64 "$@"; }

# Packages that a metapackage for kernels stands for at the moment.
kernel_packages() {
    "$1" apt-cache depends "$2" 2>/dev/null | sed -n 's/^ *Depends: \(linux-\(image\|modules\)-[0-9].*\)$/\1/p'
}

# Of these packages, those that apt knows.
known_packages() {
    apt-cache policy "$@" 2>/dev/null |
        awk '/^[a-z0-9]/ { name = $1; sub(":$", "", name) } $1 == "Candidate:" && $2 != "(none)" { print name }'
}

# Unpacks packages into a folder, without installing them, unless it has the versions that apt offers.
#   unpack_packages FOLDER APT PACKAGE...
unpack_packages() {
    local folder=$1 apt=$2 stamp deb
    shift 2
    stamp=$("$apt" apt-cache policy "$@" | grep -E '^[a-z]|Candidate') || return
    if [ -f "$folder/.stamp" ] && [ "$(cat "$folder/.stamp")" = "$stamp" ]; then
        return 0
    fi
    say "unpacking $*"
    rm -rf "$folder" && mkdir -p "$folder/.debs" || return
    (cd "$folder/.debs" && "$apt" apt-get -q -o APT::Sandbox::User= download "$@" >&2) || return
    for deb in "$folder"/.debs/*.deb; do dpkg-deb -x "$deb" "$folder" || return; done
    rm -rf "$folder/.debs"
    printf '%s\n' "$stamp" >"$folder/.stamp"
}

# The distribution's full kernel, with firmware, for the live environment of real machines.
need_kernel_hardware() {
    local kernel meta
    for meta in linux-image-amd64 linux-image-generic; do
        kernel=$(kernel_packages host_apt $meta)
        [ -z "$kernel" ] || break
    done
    if [ -z "$kernel" ]; then
        printf 'no full kernel package is known to apt; run this once: sudo apt-get update\n' >&2
        return 1
    fi
    # shellcheck disable=SC2046,SC2086
    unpack_packages "$kernel_hardware" host_apt $kernel $(known_packages "${firmware_packages[@]}")
}

# Debian's kernel for arm64, and GRUB's modules for its firmware, which cannot be installed beside those of this host.
need_kernel_arm64() {
    local kernel
    kernel=$(kernel_packages arm64_apt linux-image-arm64)
    # shellcheck disable=SC2086
    [ -n "$kernel" ] && unpack_packages "$kernel_arm64" arm64_apt $kernel grub-efi-arm64-bin
}

# A Rust compiler with the standard library for arm64: the host's own where it has that or rustup can fetch it, else
# Debian's, in a folder of its own under target/. Sets `rustc_arm64`.
need_rust_arm64() {
    local target=aarch64-unknown-linux-gnu
    rustc_arm64=rustc
    if [ -d "$(rustc --print target-libdir --target $target)" ]; then
        return 0
    fi
    rustc_arm64=$rust_arm64/rustc
    [ ! -x "$rustc_arm64" ] || return 0
    if command -v rustup >/dev/null && timeout 30 rustup target add $target 2>/dev/null; then
        rustc_arm64=rustc
        return 0
    fi
    local wanted has
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    has=$(newer_apt apt-cache policy rustc | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p') || return
    if [ "$(printf '%s\n' "$wanted" "$has" | sort -V | head -n 1)" != "$wanted" ]; then
        printf 'Debian has Rust `%s`, and `%s` or newer is needed: rustup target add %s\n' "$has" "$wanted" $target >&2
        return 1
    fi
    say "unpacking Rust $has for arm64"
    local debs=$top/target/apt/testing-amd64/cache/archives root=$rust_arm64.part deb
    rm -rf "$root" && mkdir -p "$root" || return
    # The compiler with the libraries that it was built with, which may be newer than the host's.
    newer_apt apt-get -q -y --download-only --no-install-recommends install libstd-rust-dev >&2 || return
    (cd "$debs" && newer_apt apt-get -q download rustc && newer_arm64_apt apt-get -q download libstd-rust-dev) >&2 || return
    for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root" || return; done
    rm -rf "$root/usr/share" "$debs" "$rust_arm64"
    cat >"$root/rustc" <<'SCRIPT' && chmod 755 "$root/rustc" && mv "$root" "$rust_arm64"
#!/bin/sh
# Runs the compiler with the C library beside it.
root=$(dirname "$(readlink -f "$0")")
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \
    "$root/usr/bin/rustc" --sysroot "$root/usr" "$@"
SCRIPT
}

# The programs that run inside arm64 guests.
build_programs_arm64() {
    need_rust_arm64 || return
    say 'building for arm64'
    CARGO_TARGET_DIR=target/static-arm64 RUSTC=$rustc_arm64 RUSTFLAGS='-C target-feature=+crt-static' \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        cargo build --locked --profile agent --target aarch64-unknown-linux-gnu -p bootgate-agent -p bootgate-diskinit
}

# The live environment of real machines, a disk image for sectors of 4096 bytes, and one for every kind of disk.
build_media_hardware() {
    need_kernel_hardware || return
    say 'making the live environment for real machines'
    "$bootgate" media live vm/live-hardware.toml --kernel-root "$kernel_hardware" --agent "$static_dir/bootgate-agent" \
        --out "$media_dir/live-hardware" || return
    "$bootgate" media disk vm/disk-4k.toml --kernel-root "$kernel_root" --init "$static_dir/bootgate-diskinit" \
        --out "$media_dir/disk-4k" || return
    "$bootgate" media disk vm/disk-hardware.toml --kernel-root "$kernel_hardware" --init "$static_dir/bootgate-diskinit" \
        --out "$media_dir/disk-hardware"
}

# The live environment and the disk image of arm64. Without a Debian to take them from there are none, and the tests that
# need them say so.
build_media_arm64() {
    if ! foreign_sources host >/dev/null; then
        say 'no media for arm64'
        return 0
    fi
    need_packages "${arm64_packages[@]}" && need_kernel_arm64 && build_programs_arm64 || return
    say 'making the live environment and the disk image for arm64'
    "$bootgate" media live vm/live-arm64.toml --kernel-root "$kernel_arm64" --agent "$static_arm64/bootgate-agent" \
        --out "$media_dir/live-arm64" || return
    "$bootgate" media disk vm/disk-arm64.toml --kernel-root "$kernel_arm64" --init "$static_arm64/bootgate-diskinit" \
        --out "$media_dir/disk-arm64"
}
