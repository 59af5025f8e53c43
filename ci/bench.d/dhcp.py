"""The DHCP server beside Kea: durable leases both, perfdhcp's clients at the other end of a cable.

Each server runs in a network namespace of this script's own and keeps its leases in a file on the same disk: Kea in its
memfile (which it writes and does not sync), bootgate in its database (synced before an ACK leaves). perfdhcp goes through
whole exchanges (DISCOVER, OFFER, REQUEST, ACK) of many clients at a rate that it is given.

Drops are counted twice: with perfdhcp as it is, and with a larger receive buffer for perfdhcp's socket. As it is, it holds
some 160 replies, and loses what comes while it is not scheduled; no server can help that.
"""

import argparse
import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BOOTGATE = TOP / "target/release/bootgate"
SERVER, CLIENT = "srv0", "eth0"
# perfdhcp may have this many clients; the pool must hold them all.
CLIENTS = 50_000
POOL = ("10.1.0.0", "10.8.255.255")
PREFIX = 12
SERVER_IP, CLIENT_IP = "10.0.0.1", "10.0.0.2"
# How long one server may take to start, and to answer what is under way when perfdhcp stops asking.
START_S, LATE_US = 30, 500_000
# Room for replies in perfdhcp's socket, where it is given any. As much as bootgate gives its own.
ROOM = 4 << 20
SO_RCVBUFFORCE, PIDFD_GETFD = 33, 438
# Keeping a moment for each packet costs perfdhcp so much that it cannot send faster, whoever answers.
TIMED_MOST = 8000


def say(text):
    print(text, file=sys.stderr, flush=True)


def figure(name, value, unit, **more):
    print(json.dumps({"figure": name, "value": value, "unit": unit, **more}), flush=True)


def ip(*arguments, inside=None):
    prefix = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*prefix, "ip", *arguments], check=True)


class Cable:
    """A namespace for the client, and a cable to it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        pid = str(self.holder.pid)
        ip("link", "set", "lo", "up")
        ip("link", "add", SERVER, "type", "veth", "peer", "name", CLIENT, "netns", pid)
        ip("addr", "add", f"{SERVER_IP}/{PREFIX}", "dev", SERVER)
        ip("link", "set", SERVER, "up")
        ip("link", "set", "lo", "up", inside=pid)
        ip("addr", "add", f"{CLIENT_IP}/{PREFIX}", "dev", CLIENT, inside=pid)
        ip("link", "set", CLIENT, "up", inside=pid)

    def perfdhcp(self, rate, seconds, timed=False, room=False):
        """One run; with a moment for each packet where `timed`, and a larger buffer where `room`."""
        # On two cores perfdhcp with two threads takes both from whatever it measures, and loses replies in its own
        # socket's buffer (UDP's RcvbufErrors in its namespace) long before any server does.
        command = ["nsenter", "-t", str(self.holder.pid), "-n", "perfdhcp", "-4", "-l", CLIENT, "-r", str(rate),
                   "-R", str(CLIENTS), "-p", str(seconds), "-W", str(LATE_US), "-g", "single"]
        command += [*(["-x", "ts"] if timed else []), SERVER_IP]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if room:
            widen(process)
        try:
            text, _ = process.communicate(timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return Result(rate, seconds, text)


def widen(process):
    """Gives the socket of a process room, as soon as it has one."""
    libc = ctypes.CDLL(None, use_errno=True)
    deadline = time.monotonic() + START_S
    handle = os.pidfd_open(process.pid)
    try:
        while process.poll() is None and time.monotonic() < deadline:
            for number in sockets(process.pid):
                copy = libc.syscall(PIDFD_GETFD, handle, number, 0)
                if copy < 0:
                    continue
                with socket.socket(fileno=copy) as its:
                    its.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
                return
    finally:
        os.close(handle)


def sockets(pid):
    found = []
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
                found.append(int(number))
    except OSError:
        pass  # It went away, or closed one in between.
    return found


class Result:
    """What perfdhcp tells of one run."""

    def __init__(self, rate, seconds, text):
        self.asked = rate
        sent = re.search(r"^sent packets: (\d+)", text, re.M)
        if not sent:
            raise RuntimeError(f"perfdhcp: {text[-2000:]}")
        # Its own figure counts the wait for late answers too.
        self.rate = int(sent[1]) / seconds
        self.drops = [int(n) for n in re.findall(r"^drops: (\d+)", text, re.M)]
        self.mean_ms = [float(n) for n in re.findall(r"^avg delay: ([\d.]+) ms", text, re.M)]
        self.p99_ms = [p99(part) for part in text.split("***Timestamps for packets: ")[1:]]

    def clean(self):
        """Without one drop, and perfdhcp itself kept up."""
        return sum(self.drops) == 0 and len(self.drops) == 2 and self.rate > 0.97 * self.asked


def p99(text):
    """Of the pairs of moments that perfdhcp prints."""
    delays = []
    for sent, received in re.findall(r"sent / received: ([\d.]+) / ([\d.]+)", text):
        delays.append((float(received) - float(sent)) * 1000)
    delays.sort()
    return round(delays[len(delays) * 99 // 100], 3) if delays else None


class Kea:
    def __init__(self, folder, threads):
        self.name = f"Kea, {threads} threads" if threads else "Kea"
        self.folder = pathlib.Path(folder)
        config = {"Dhcp4": {
            "interfaces-config": {"interfaces": [SERVER]},
            "lease-database": {"type": "memfile", "persist": True, "name": f"{folder}/leases.csv"},
            "valid-lifetime": 3600,
            "subnet4": [{"subnet": f"10.0.0.0/{PREFIX}", "pools": [{"pool": "-".join(POOL)}]}],
            "loggers": [{"name": "kea-dhcp4", "severity": "WARN",
                         "output_options": [{"output": f"{folder}/kea.log"}]}],
        }}
        if threads:
            config["Dhcp4"]["multi-threading"] = {"enable-multi-threading": True, "thread-pool-size": threads}
        path = self.folder / "kea.json"
        path.write_text(json.dumps(config))
        self.command = ["kea-dhcp4", "-c", str(path)]
        self.environment = {"KEA_PIDFILE_DIR": folder, "KEA_LOCKFILE_DIR": folder}


class Bootgate:
    name = "bootgate"

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        path = self.folder / "serve.toml"
        # JSON's strings and lists are TOML's too.
        path.write_text("\n".join([
            "[state]", f"folder = {json.dumps(folder + '/state')}",
            "[[interface]]", f"name = {json.dumps(SERVER)}", 'dhcp = "full"',
            "[[subnet]]", f'network = "10.0.0.0/{PREFIX}"', f"ranges = {json.dumps(['-'.join(POOL)])}", 'lease = "1h"',
            "[limits]", f"leases = {4 * CLIENTS}", "",
        ]))
        self.command = [str(BOOTGATE), "serve", "--config", str(path)]
        self.environment = {}


class Running:
    """A server, started; it answers DHCP when this is made."""

    def __init__(self, server, cable):
        self.server = server
        self.log = open(server.folder / "output", "wb")
        self.process = subprocess.Popen(server.command, env={**os.environ, **server.environment},
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_S
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"{server.name} does not start: {(server.folder / 'output').read_text()[-2000:]}")
            if sum(cable.perfdhcp(10, 1).drops) == 0:
                return

    def memory_mib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def drop_free(cable, name, room, options):
    """The highest rate without a drop: doubling until there is one, then halving the gap down to a twentieth."""
    def clean(rate):
        # One hiccup of the host is not the server's limit.
        for _ in range(3):
            result = cable.perfdhcp(rate, options.seconds, room=room)
            say(f"  {name}{', room' if room else ''}: {rate}/s: {result.rate:.0f}/s done, drops {result.drops}, "
                f"mean {result.mean_ms} ms")
            if result.clean():
                return True
        return False

    good, bad = 0, None
    rate = 2000
    while bad is None and rate <= options.most:
        good, bad = (rate, None) if clean(rate) else (good, rate)
        rate *= 2
    while bad is not None and bad - good > max(100, good // 20):
        middle = (good + bad) // 2 // 50 * 50
        good, bad = (middle, bad) if clean(middle) else (good, middle)
    return good


def p99s(cable, servers, rate, seconds, rounds):
    """The medians of some runs' p99, of DISCOVER and of REQUEST, of each server; the servers take turns, so that what
    the host does meanwhile meets them all."""
    runs = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            running = Running(server, cable)
            result = cable.perfdhcp(rate, seconds, timed=True)
            running.stop()
            say(f"  {server.name}: {rate}/s: p99 {result.p99_ms} ms, mean {result.mean_ms} ms")
            runs[server.name].append(result.p99_ms)
    return {name: [sorted(figures)[rounds // 2] for figures in zip(*some)] for name, some in runs.items()}


def memory(cable, folder):
    """Resident memory of the server: with no lease, and started again with 10,000."""
    server = Bootgate(folder)
    running = Running(server, cable)
    figure("bootgate: resident memory, no leases", round(running.memory_mib(), 1), "MiB", bound=30)
    cable.perfdhcp(2000, 6)
    running.stop()
    running = Running(server, cable)
    figure("bootgate: resident memory, 10,000 leases or more", round(running.memory_mib(), 1), "MiB", bound=30)
    running.stop()


def inside(options):
    cable = Cable()
    folders = tempfile.TemporaryDirectory(prefix="dhcp-bench-", dir=TOP / "target")
    def folder(name):
        path = pathlib.Path(folders.name) / name
        path.mkdir()
        return str(path)
    with folders:
        memory(cable, folder("memory"))
        servers = [Kea(folder("kea"), 0), Kea(folder("kea-threads"), 2), Bootgate(folder("bootgate"))]
        peers = []
        for room, how in ((False, "perfdhcp as it is"), (True, "perfdhcp with room")):
            rates = {}
            for server in servers:
                running = Running(server, cable)
                rates[server.name] = drop_free(cable, server.name, room, options)
                running.stop()
                figure(f"{server.name}: drop-free rate, {how}", rates[server.name], "exchanges/s")
            peer = max((name for name in rates if name.startswith("Kea")), key=rates.get)
            ratio = round(rates["bootgate"] / rates[peer], 2) if rates[peer] else None
            figure(f"drop-free rate, ratio to Kea, {how}", ratio, "", peer=peer, bound=1.5)
            peers.append((rates[peer], peer))
        rate, peer = max(peers)
        rate = min(rate, TIMED_MOST)
        compared = [server for server in servers if server.name in (peer, "bootgate")]
        worst = {}
        for name, (discover, request) in p99s(cable, compared, rate, options.seconds, options.rounds).items():
            worst[name] = max(discover, request)
            figure(f"{name}: p99", worst[name], "ms", rate=rate, discover=discover, request=request)
        figure("p99, ratio to Kea", round(worst["bootgate"] / worst[peer], 2), "", bound=1.0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=4, help="seconds of each step")
    parser.add_argument("--rounds", type=int, default=5, help="runs of which the median p99 counts")
    parser.add_argument("--most", type=int, default=64000, help="highest rate to try")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    if os.geteuid() != 0:
        say("namespaces and raw sockets need root")
        return sys.exit(3)
    # The PID namespace takes the servers away whatever happens to the script.
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
               __file__, "--inside", *sys.argv[1:]]
    sys.exit(subprocess.run(command).returncode)


main()
