#!/bin/sh
# Makes the initial RAM disk that the distribution's own tool makes of the same kernel (udev, drivers for most machines),
# which then starts the same agent.
#
#   distribution_live.sh KERNEL_ROOT AGENT OUT
set -e
root=$1 agent=$2 out=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r /etc/initramfs-tools "$work/conf"
mkdir -p "$work/conf/hooks" "$work/conf/scripts"
cat >"$work/conf/hooks/agent" <<'HOOK'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
copy_file binary "$AGENT" /bin/bootgate-agent
HOOK
chmod +x "$work/conf/hooks/agent"
# `boot=bootgate` on the kernel's command line: in place of a root file system, the agent, as PID 1.
printf 'mountroot() { exec /bin/bootgate-agent; }\nmount_top() { :; }\nmount_premount() { :; }\n' \
    >"$work/conf/scripts/bootgate"
version=$(ls "$root/lib/modules")
# The tool looks for the modules of the running system: in a mount namespace of its own, those are the kernel's.
export AGENT="$agent" ROOT="$root" WORK="$work" OUT="$out" VERSION="$version"
unshare --mount sh -ec '
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work
    mount -t overlay overlay -o "lowerdir=$ROOT/lib:/usr/lib,upperdir=/mnt/upper,workdir=/mnt/work" /usr/lib
    mount --bind "$ROOT/boot" /boot
    mkinitramfs -d "$WORK/conf" -o "$OUT" "$VERSION"'
