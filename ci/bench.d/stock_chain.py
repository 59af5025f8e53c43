"""Boots one client through dnsmasq, nginx and the distribution's iPXE, or with QEMU's `-kernel` and nothing before it
(`direct`). Runs in network and PID namespaces of its own."""

import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import uuid

job = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(job["folder"])
top = pathlib.Path(job["top"])
media = top / "target/media"
server = "10.77.0.1"
initrd = pathlib.Path(job.get("initrd", media / "live/initrd.img"))


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def network():
    ip("link", "set", "lo", "up")
    ip("link", "add", "br0", "type", "bridge")
    ip("tuntap", "add", "dev", "tap0", "mode", "tap")
    ip("link", "set", "tap0", "master", "br0", "up")
    ip("link", "set", "br0", "up")
    ip("address", "add", f"{server}/24", "dev", "br0")
    if job["remedies"]:
        ip("address", "add", "fd77::1/64", "dev", "br0", "nodad")


def web():
    root = folder / "www"
    root.mkdir()
    os.symlink(media / "live/vmlinuz", root / "vmlinuz")
    os.symlink(initrd, root / "initrd.img")
    subprocess.run([top / "target/release/bootgate", "media", "chunks", media / "disk/disk.img", "--out", root / "image"],
                   check=True, stdout=subprocess.DEVNULL)
    index = json.loads((root / "image/index.json").read_text())
    plan = {"do": "flash", "index_path": "/image/index.json", "data_path": "/image/image.zst",
            "image_sha256": index["image_sha256"], "disk": {}, "after": "reboot"}
    (root / "boot.ipxe").write_text(
        "#!ipxe\n"
        f"kernel http://{server}/vmlinuz initrd=initrd.img {job['cmdline']} bootgate.nonce=0 "
        f"bootgate.server=http://{server} bootgate.ip=${{ip}}/${{netmask}} bootgate.mac=${{mac}}\n"
        f"initrd http://{server}/initrd.img\nboot\n")
    # nginx drops privileges; the folder must be readable for the user it takes.
    os.chmod(folder, 0o755)
    config = folder / "nginx.conf"
    config.write_text(f"""
user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log; daemon off;
events {{ }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_timeout 60; default_type application/octet-stream;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen {server}:80; root {root};
    location /api {{ default_type application/json; return 200 '{json.dumps(plan)}'; }}
  }}
}}
""")
    return subprocess.Popen(["nginx", "-c", config, "-e", f"{folder}/nginx.log"])


def dhcp():
    tftp = folder / "tftp"
    tftp.mkdir()
    for name in ["snponly.efi", "undionly.kpxe"]:
        shutil.copy(f"/usr/lib/ipxe/{name}", tftp / name)
    args = ["dnsmasq", "--conf-file=/dev/null", "--no-daemon", "--port=0", "--user=root", "--interface=br0",
            "--bind-interfaces", "--dhcp-range=10.77.0.10,10.77.0.99,1h", f"--dhcp-leasefile={folder}/leases",
            "--enable-tftp", f"--tftp-root={tftp}", "--dhcp-match=set:ipxe,175", "--dhcp-match=set:efi,option:client-arch,7",
            f"--dhcp-boot=tag:ipxe,http://{server}/boot.ipxe", "--dhcp-boot=tag:!ipxe,tag:efi,snponly.efi",
            "--dhcp-boot=tag:!ipxe,tag:!efi,undionly.kpxe", "--log-facility=/dev/null"]
    if job["remedies"]:
        # No waiting for a proxyDHCP server, and an answer to router solicitations.
        args += ["--dhcp-option-force=tag:ipxe,encap:175,176,1b", "--enable-ra", "--dhcp-range=fd77::,ra-only"]
    return subprocess.Popen(args, stderr=subprocess.DEVNULL)


def listening():
    """Both servers hold their sockets."""
    shown = subprocess.run(["ss", "-Hlnut"], capture_output=True, text=True).stdout
    others = job.get("direct") or (":67 " in shown and ":69 " in shown)
    return others and f"{server}:80 " in shown


def machine():
    """bootgate's own QEMU arguments, with a tap, and sockets in place of inherited descriptors."""
    argv, out = job["argv"], []
    position = 0
    while position < len(argv):
        arg = argv[position]
        position += 1
        following = argv[position] if position < len(argv) else ""
        name = next((part[3:] for part in following.split(",") if part.startswith("id=")), "")
        if arg == "-netdev":
            out += ["-netdev", f"tap,id={name},ifname=tap0,script=no,downscript=no"]
            position += 1
        elif arg == "-chardev" and "fd=" in following:
            out += ["-chardev", f"socket,id={name},path={folder}/{name}.sock,server=on,wait=off"]
            sockets.append(name)
            position += 1
        elif arg == "-device" and following.startswith("virtio-rng-pci") and "no-tpm.rom" in following:
            # The same ROM of ones; `without_tpm` puts it where bootgate does.
            (folder / "no-tpm.rom").write_bytes(b"\xff" * 4096)
            out += ["-device", re.sub(r"romfile=.*no-tpm\.rom", f"romfile={folder}/no-tpm.rom", following)]
            position += 1
        else:
            out.append(own_file(arg))
    if job.get("direct"):
        mac = re.search(r"mac=([0-9a-f:]+)", " ".join(argv)).group(1)
        out += ["-kernel", str(media / "live/vmlinuz"), "-initrd", str(initrd), "-append",
                f"{job['cmdline']} bootgate.nonce=0 bootgate.server=http://{server} bootgate.ip=10.77.0.10/255.255.255.0 "
                f"bootgate.mac={mac}"]
    return out


def own_file(arg):
    """The argument with a blank disk and a fresh variable store in place of bootgate's."""
    for path in re.findall(r'"filename":"([^"]*(?:/disk\.raw|-vars\.fd))"', arg):
        copy = folder / pathlib.Path(path).name
        if copy.suffix == ".fd":
            shutil.copy(store(), copy)
            spare_iscsi(copy)
        else:
            with open(copy, "wb") as file:
                file.truncate((media / "disk/disk.img").stat().st_size)
        arg = arg.replace(path, str(copy))
    return arg


def store():
    """The template of the variable store that belongs to the firmware's code."""
    code = next(found for arg in job["argv"] if (found := re.search(r'"filename":"([^"]*CODE[^"]*)"', arg)))
    return code.group(1).replace("CODE", "VARS").replace("secboot", "ms")


def spare_iscsi(path):
    """What bootgate puts into a fresh store (crates/target/src/qemu/nvram.rs), so that both boot the same machine."""
    data = bytearray(path.read_bytes())
    at = struct.unpack_from("<H", data, 48)[0] + 28
    while data[at:at + 2] == b"\xaa\x55":
        at = (at + 60 + sum(struct.unpack_from("<II", data, at + 36)) + 3) & ~3
    name = "InitialAttemptOrder\0".encode("utf-16le")
    if name in data:
        return
    variable = struct.pack("<HBBI28xII", 0x55AA, 0x3F, 0, 3, len(name), 8)
    variable += uuid.UUID("4b47d616-a8d6-4552-9d44-ccad2e0f4cf9").bytes_le + name + bytes(range(1, 9))
    data[at:at + len(variable)] = variable
    path.write_bytes(data)


def without_tpm(control):
    """As crates/target/src/qemu/absent_tpm.rs."""
    for port, value in [(0xCF8, 0x80000830), (0xCFC, 0xFED40001), (0xCF8, 0x80000804), (0xCFC, 2)]:
        qmp(control, "human-monitor-command", {"command-line": f"o /4x {port:#x} {value:#x}"})


sockets = []


def connect(name):
    client = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 10
    while True:
        try:
            client.connect(f"{folder}/{name}.sock")
            return client
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def qmp(client, command, arguments=None):
    client.sendall(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
    reader = client.makefile("rb", buffering=0)
    while b"return" not in (line := reader.readline()):
        if not line:
            raise RuntimeError("QMP closed")


network()
servers = [web()]
if not job.get("direct"):
    servers.append(dhcp())
deadline = time.monotonic() + 10
while not listening():
    if time.monotonic() > deadline:
        raise RuntimeError("the servers do not listen")
    time.sleep(0.02)
argv = machine()
qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(folder / "qemu.log", "w"))
try:
    links = {name: connect(name) for name in sockets}
    serial = next(link for name, link in links.items() if "serial" in name or "console" in name)
    control = next(link for name, link in links.items() if "qmp" in name or "mon" in name)
    qmp(control, "qmp_capabilities")
    if (folder / "no-tpm.rom").exists():
        without_tpm(control)
    began = time.monotonic()
    qmp(control, "cont")
    seen = b""
    serial.settimeout(1)
    while job["marker"].encode() not in seen:
        if time.monotonic() - began > 150 or qemu.poll() is not None:
            raise RuntimeError(f"no marker; console ends with {seen[-2000:]!r}; {open(folder / 'qemu.log').read()}")
        try:
            seen += serial.recv(4096)
        except TimeoutError:
            pass
    print(json.dumps({"seconds": time.monotonic() - began}))
finally:
    qemu.kill()
    for process in servers:
        process.kill()
