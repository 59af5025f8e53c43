# Shared by the entry points of ci/: what the host must have, and how it is built. Sourced, not run.
# shellcheck shell=bash

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"

media_dir=$top/target/media
kernel_root=$top/target/kernel
static_dir=$top/target/static/x86_64-unknown-linux-gnu/agent
bootgate=$top/target/release/bootgate

# shellcheck source=ci/media.sh
source "$top/ci/media.sh"

# What `bootgate run` and `bootgate media` need.
gate_packages=(qemu-system-x86 ovmf ipxe ipxe-qemu seabios grub-common grub-pc-bin grub-efi-amd64-bin gcc libc6-dev)
# Real clients and readers that the tests put the servers and reports before.
test_packages=(dnsmasq-base curl tftp-hpa udhcpc isc-dhcp-client dhcpcd-base iproute2 util-linux zstd cpio tshark chromium g++
    python3-venv libarchive-tools dosfstools qemu-efi-aarch64
    lintian strace binutils adduser docker-registry
    kea-dhcp4-server kea-admin isc-dhcp-server isc-dhcp-relay systemd pxelinux syslinux-common u-boot-qemu qemu-system-arm)
# Peers that the benchmark runs beside us.
bench_packages=(dnsmasq-base nginx-light iproute2 util-linux python3 kea-dhcp4-server kea-admin initramfs-tools udev curl wrk)

say() { printf '==> %s\n' "$*"; }

# Installs the packages that are missing, or says which command does.
need_packages() {
    local missing=() package
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        printf 'missing packages; run this once, then start again:\n\n    sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n\n' "${missing[*]}" >&2
        exit 3
    fi
    say "installing ${missing[*]}"
    # A daemon that a package brings must not start on this host: nothing of ours may listen outside a namespace.
    local policy=/usr/sbin/policy-rc.d made_policy=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=yes
    fi
    local failed=0
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"; } >&2 || failed=$?
    [ $made_policy = no ] || rm -f "$policy"
    return $failed
}

# Cargo must be there; a distribution's may be too old for this workspace.
need_cargo() {
    if ! command -v cargo >/dev/null; then
        printf 'cargo is not installed; any Rust toolchain of version %s or newer will do\n' \
            "$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" >&2
        exit 3
    fi
}

# Unpacks the distribution's kernel for virtual machines into target/kernel, without installing it on the host.
need_kernel() {
    local meta names name
    for meta in linux-image-cloud-amd64 linux-image-virtual linux-image-amd64; do
        names=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-\(image\|modules\)-[0-9].*\)$/\1/p')
        [ -z "$names" ] || break
    done
    if [ -z "$names" ]; then
        if [ "$(id -u)" = 0 ] && [ -z "${apt_updated:-}" ]; then
            apt_updated=yes
            apt-get -q update >&2
            need_kernel
            return
        fi
        printf 'no kernel package is known to apt; run this once: sudo apt-get update\n' >&2
        exit 3
    fi
    # On Ubuntu the modules are a package that the image depends on.
    for name in $names; do
        names+=" $(apt-cache depends "$name" | sed -n 's/^ *Depends: \(linux-modules-[0-9].*\)$/\1/p')"
    done
    names=$(printf '%s\n' $names | sort -u)
    # shellcheck disable=SC2086
    unpack_packages "$kernel_root" host_apt $names
}

# Tries the control interface by its description: a program of PyPI, in a folder of its own.
schemathesis_version=4.32.5
need_schemathesis() {
    local folder=$top/target/tools/schemathesis
    [ "$(cat "$folder/version" 2>/dev/null)" != "$schemathesis_version" ] || return 0
    say "installing schemathesis $schemathesis_version"
    rm -rf "$folder"
    if ! { python3 -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check "schemathesis==$schemathesis_version"; } >&2; then
        # The test that uses it is skipped, and says so.
        rm -rf "$folder"
        printf 'schemathesis %s cannot be installed from PyPI here\n' "$schemathesis_version" >&2
        return 0
    fi
    printf '%s\n' "$schemathesis_version" >"$folder/version"
}

# The programs that run inside guests are static; the release binary is what a user runs.
build_programs() {
    say 'building'
    cargo build --locked --release -p bootgate
    CARGO_TARGET_DIR=target/static RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --locked --profile agent --target x86_64-unknown-linux-gnu -p bootgate-agent -p bootgate-diskinit
}

# Boot media from the iPXE of a newer Debian, fetched once; apt checks the archive's signature. The packages stay in
# target/ipxe (remove it for newer ones), and the result is in target/media/ipxe.
need_ipxe() {
    local suite=trixie
    say "making boot media from iPXE of $suite"
    if ! "$bootgate" ipxe prepare --fetch "$suite" --cache "target/ipxe/$suite" --out "$media_dir/ipxe" >/dev/null; then
        # What is installed on this host boots machines too, by DHCP user class.
        printf 'no boot media in %s: apt cannot fetch ipxe, isolinux, pxelinux and syslinux-common of Debian %s here.\nThe iPXE of this host is used, and what needs newer media is skipped. With packages from elsewhere: %s ipxe prepare --deb FILE.deb ... --out %s\n' \
            "$media_dir/ipxe" "$suite" "$bootgate" "$media_dir/ipxe" >&2
    fi
    # What an earlier run has made will do where nothing can be fetched.
    if [ -f "$media_dir/ipxe/ipxe.toml" ]; then
        export BOOTGATE_IPXE=$media_dir/ipxe
    fi
}

# The live environment, the disk image of the default scenarios, and boot media.
build_media() {
    need_ipxe
    say 'making the live environment and the disk image'
    "$bootgate" media live vm/live.toml --kernel-root "$kernel_root" --agent "$static_dir/bootgate-agent" --out "$media_dir/live"
    "$bootgate" media disk vm/disk.toml --kernel-root "$kernel_root" --init "$static_dir/bootgate-diskinit" --out "$media_dir/disk"
}
