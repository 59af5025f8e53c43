"""The HTTP server beside nginx, at the same end of a cable, in network and PID namespaces of this script's own.

Files come from the page cache. A client that copies what it gets is slower than either server, so that two clients are
used: curl, which copies once, and one that has the kernel throw away what arrived (`MSG_TRUNC`), which is no limit.
Scripts are asked for by wrk; nginx's are a file of the same length, which is less than what bootgate does.
"""

import argparse
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
BOOTGATE = pathlib.Path(os.environ.get("BOOTGATE", TARGET / "release/bootgate"))
INSIDE = "BOOTGATE_BENCH_INSIDE"
SERVER, CLIENT = "srv0", "eth0"
SERVER_IP, CLIENT_IP, PREFIX = "10.0.0.1", "10.0.0.2", 24
START_S = 30
# Machines that scripts are asked for, of each mode. All from one address, as no fleet does.
MACHINES = 64
MODES = ("script", "local")
MSG_TRUNC = 0x20
# Connections of one address at once, in the namespace's small network.
CONNECTIONS = 4096


def say(text):
    print(text, file=sys.stderr, flush=True)


def figure(name, value, unit, **more):
    print(json.dumps({"figure": name, "value": value, "unit": unit, **more}), flush=True)


def enter_namespace():
    """Runs this script again in namespaces of its own; whatever it starts there is gone when it ends."""
    os.environ[INSIDE] = "1"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvp(command[0], command + [sys.executable] + sys.argv)


def ip(*arguments, inside=()):
    subprocess.run([*inside, "ip", *arguments], check=True)


class Cable:
    """A namespace for the clients, and a cable to it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        pid = str(self.holder.pid)
        self.inside = ["nsenter", "-t", pid, "-n"]
        ip("link", "set", "lo", "up")
        ip("link", "add", SERVER, "type", "veth", "peer", "name", CLIENT, "netns", pid)
        ip("addr", "add", f"{SERVER_IP}/{PREFIX}", "dev", SERVER)
        ip("link", "set", SERVER, "up")
        ip("link", "set", "lo", "up", inside=self.inside)
        ip("addr", "add", f"{CLIENT_IP}/{PREFIX}", "dev", CLIENT, inside=self.inside)
        ip("link", "set", CLIENT, "up", inside=self.inside)
        # Without keep-alive every request takes a port, and gives it back a minute later.
        ports = "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range; echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse"
        subprocess.run([*self.inside, "sh", "-c", ports], check=True)

    def run(self, *command, timeout=900):
        command = [*self.inside, *map(str, command)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        return done.stdout

    def me(self, *arguments, **more):
        """A client of this script's own."""
        return json.loads(self.run(sys.executable, __file__, *arguments, **more))


class Server:
    """A server that answers."""

    def __init__(self, name, command, log, port, prefix):
        self.name, self.prefix = name, prefix
        self.base = f"http://{SERVER_IP}:{port}"
        self.port = port
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_S
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not start: {pathlib.Path(log).read_text()[-2000:]}")
            try:
                socket.create_connection((SERVER_IP, port), 1).close()
                return
            except OSError:
                select.select([], [], [], 0.02)

    def processes(self):
        """Its own and its children's."""
        pids = [self.process.pid]
        for pid in pids:
            pids += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return pids

    def cpu_seconds(self):
        ticks = 0
        for pid in self.processes():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, what):
        """`VmRSS`, now, or `VmHWM`, the most since the peak was last forgotten; of all its processes."""
        total = 0
        for pid in self.processes():
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(rf"^{what}:\s+(\d+)", status, re.M)[1])
        return total / 1024

    def forget_peak(self):
        for pid in self.processes():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx(folder, files):
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(f"""
user root; worker_processes auto; worker_rlimit_nofile 65536;
pid {folder}/pid; error_log {folder}/error.log; daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_timeout 60; keepalive_requests 1000000000;
  default_type application/octet-stream;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen {SERVER_IP}:8080 backlog=4096; root {files}; }}
}}
""")
    return Server("nginx", ["nginx", "-c", config, "-e", folder / "error.log"], folder / "output", 8080, "")


def mac(mode, number):
    return f"02:00:00:{MODES.index(mode):02x}:00:{number:02x}"


def bootgate(folder, files, discovery):
    """A server that says nothing by DHCP, with machines of every mode, or with none where it is to know nobody."""
    folder.mkdir()
    script = folder / "hello.ipxe"
    script.write_text("#!ipxe\necho hello {{ mac }} {{ nonce }}\nexit 0\n")
    path, state = folder / "serve.toml", folder / "state"
    # JSON's strings and lists are TOML's too.
    path.write_text("\n".join([
        "[state]", f"folder = {json.dumps(str(state))}",
        "[[interface]]", f"name = {json.dumps(SERVER)}", 'dhcp = "off"',
        "[boot]", f"folder = {json.dumps(str(files))}",
        "[[script]]", 'name = "hello"', f"path = {json.dumps(str(script))}",
        "[discovery]", f"mode = {json.dumps(discovery)}",
        "[limits]", f"http_connections = {CONNECTIONS}", f"http_connections_per_client = {CONNECTIONS}", "",
    ]))
    server = Server("bootgate", [BOOTGATE, "serve", "--config", path], folder / "output", 80, "/artifacts")
    if discovery != "off":
        for mode in MODES:
            for number in range(MACHINES):
                script = ["--script", "hello"] if mode == "script" else []
                subprocess.run([BOOTGATE, "machine", "set", mac(mode, number), "--mode", mode, *script, "--state",
                                str(state)], check=True, stdout=subprocess.DEVNULL)
    return server


# --- clients of our own; they run in the clients' namespace ---


def get(port, path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


def drop_all(port, path, clients):
    """Fetches a file by so many connections at once, and has the kernel drop what arrives. Prints the time it took."""
    port, clients = int(port), int(clients)
    poll = select.epoll()
    request = get(port, path, "Connection: close\r\n")
    open_, got, scrap = {}, 0, bytearray(4 << 20)
    began = time.monotonic()
    for _ in range(clients):
        connection = socket.create_connection((SERVER_IP, port), 60)
        connection.setblocking(False)
        connection.send(request)
        open_[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
    while open_:
        events = poll.poll(60)
        if not events:
            raise RuntimeError(f"nothing came for a minute; {len(open_)} connections wait")
        for number, _ in events:
            try:
                count = open_[number].recv_into(scrap, len(scrap), MSG_TRUNC)
            except BlockingIOError:
                continue
            got += count
            if count == 0:
                poll.unregister(number)
                open_.pop(number).close()
    print(json.dumps({"seconds": time.monotonic() - began, "bytes": got}))


def ask_often(port, path, seconds):
    """Asks for a small file again and again on one connection; prints how long the answers took."""
    connection = socket.create_connection((SERVER_IP, int(port)), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times, ends = [], time.monotonic() + float(seconds)
    while time.monotonic() < ends:
        began = time.monotonic()
        connection.sendall(get(port, path))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        left = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1]) - len(body)
        while left > 0:
            left -= len(connection.recv(left))
        times.append(time.monotonic() - began)
    print(json.dumps({"milliseconds": [round(1000 * one, 3) for one in times]}))


OURS = {"drop-all": drop_all, "ask-often": ask_often}


# --- what is measured ---


def one_client(cable, servers, size, options):
    def curl(server):
        out = cable.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{time_total}",
                        f"{server.base}{server.prefix}/file")
        code, count, seconds = out.split()
        if (int(code), int(count)) != (200, size):
            raise RuntimeError(f"{server.name}: {out}")
        return float(seconds)

    def dropping(server):
        done = cable.me("drop-all", server.port, f"{server.prefix}/file", 1)
        if done["bytes"] < size:
            raise RuntimeError(f"{server.name}: {done}")
        return done["seconds"]

    for how, fetch in (("curl", curl), ("a client that drops what it gets", dropping)):
        rates = {server.name: [] for server in servers}
        costs = {server.name: [] for server in servers}
        for number in range(options.rounds):
            say(f"one client, {how}: round {number + 1} of {options.rounds}")
            # Who comes first changes, so that what the host does meets both.
            for server in servers if number % 2 else servers[::-1]:
                before = server.cpu_seconds()
                rates[server.name].append(round(size / fetch(server) / 1e6))
                costs[server.name].append((server.cpu_seconds() - before) / size * 1e9)
        medians = {name: statistics.median(all_) for name, all_ in rates.items()}
        for name in rates:
            figure(f"http: one client, {how}", medians[name], "MB/s", peer=name, all=rates[name])
        for name in rates:
            figure(f"http: processor time of the server, {how}", round(statistics.median(costs[name]), 3), "s/GB",
                   peer=name)
        figure(f"http: one client, {how}, ratio to nginx", round(medians["bootgate"] / medians["nginx"], 2), "", least=1.0)


def many_clients(cable, servers, size, options):
    rates = {}
    for server in servers:
        say(f"{options.clients} clients of {server.name}")
        server.forget_peak()
        before, cpu = server.memory_mib("VmRSS"), server.cpu_seconds()
        done = cable.me("drop-all", server.port, f"{server.prefix}/file", options.clients)
        if done["bytes"] < size * options.clients:
            raise RuntimeError(f"{server.name}: {done}")
        rates[server.name] = done["bytes"] / done["seconds"] / 1e6
        figure(f"http: {options.clients} clients at once, together", round(rates[server.name]), "MB/s", peer=server.name)
        figure(f"http: {options.clients} clients at once, processor time of the server",
               round((server.cpu_seconds() - cpu) / done["bytes"] * 1e9, 3), "s/GB", peer=server.name)
        bound = {"bound": 16} if server.name == "bootgate" else {}
        figure(f"http: {options.clients} clients at once, growth of the server's memory",
               round(server.memory_mib("VmHWM") - before, 1), "MiB", peer=server.name, before=round(before, 1), **bound)
    figure(f"http: {options.clients} clients at once, ratio to nginx", round(rates["bootgate"] / rates["nginx"], 2), "",
           least=1.0)


def cold(cable, servers, files, size):
    """How long others wait while files come from the disk. The disk is the host's: see how fast it was."""
    for server in servers:
        say(f"files from the disk, by {server.name}")
        with open(files / "file", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        done = {}
        def fetch():
            done.update(cable.me("drop-all", server.port, f"{server.prefix}/file", 4))
        fetching = threading.Thread(target=fetch)
        fetching.start()
        asked = cable.me("ask-often", server.port, f"{server.prefix}/small", 0.5)["milliseconds"]
        fetching.join()
        asked.sort()
        figure("http: a small file while 4 clients get a cold one, 99th percentile", asked[len(asked) * 99 // 100], "ms",
               peer=server.name, worst=asked[-1], answers=len(asked),
               disk=f"{size / done['seconds'] / 1e6:.0f} MB/s")


LUA = """
local macs = {%s}
local next = 0
request = function()
  next = next %% #macs + 1
  return wrk.format("GET", "/boot/" .. macs[next] .. "/boot.ipxe")
end
"""


def wrk(cable, url, seconds, headers=(), lua=None):
    command = ["wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    out = cable.run(*command, *(["-s", lua] if lua else []), url)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    failed = re.search(r"Socket errors: (.*)", out)
    if failed and not re.fullmatch(r"connect 0, read \d+, write 0, timeout 0", failed[1]):
        say(f"  wrk: {failed[0]}")
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "refused": int(bad[1]) if bad else 0,
            "p99": re.search(r"99%\s+(\S+)", out)[1]}


def scripts(cable, peer, folder, files, options):
    """Scripts of machines in each mode, with and without keep-alive. The server of strangers keeps no record of them."""
    ways = (("keep-alive", ()), ("a connection each", ("Connection: close",)))
    def measure(what, server, path, lua=None, **more):
        for way, headers in ways:
            say(f"scripts, {what}, {way}")
            cpu = server.cpu_seconds()
            done = wrk(cable, f"{server.base}{path}", options.seconds, headers, lua)
            each = (server.cpu_seconds() - cpu) / (done["rate"] * options.seconds) * 1e6
            figure(f"http: {what}, {way}", round(done["rate"]), "1/s", peer=server.name, p99=done["p99"],
                   refused=done["refused"], processor_us_each=round(each, 1), **more)

    measure("a static file of a script's length", peer, "/small")
    for discovery, subjects in (("off", ["stranger"]), ("local", MODES)):
        server = bootgate(folder / f"scripts-{discovery}", files, discovery)
        measure_static = discovery == "off"
        if measure_static:
            measure("a static file of a script's length", server, "/artifacts/small")
        for subject in subjects:
            macs = [mac("local" if subject == "stranger" else subject, number) for number in range(MACHINES)]
            lua = folder / f"{subject}.lua"
            lua.write_text(LUA % ", ".join(f'"{one}"' for one in macs))
            what = {"stranger": "scripts of machines that nobody knows, without discovery (no record)",
                    "local": "scripts of known machines in mode local (each a boot with its record)",
                    "script": "scripts of known machines in mode script (each with a durable nonce)"}[subject]
            measure(what, server, "/", lua, least=20_000)
        server.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7, help="fetches by each single client; the median counts")
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the file")
    parser.add_argument("--clients", type=int, default=200, help="clients at once; each gets the whole file")
    parser.add_argument("--seconds", type=int, default=8, help="seconds of each measurement of scripts")
    parser.add_argument("--only", choices=["one", "many", "cold", "scripts"], help="measure only this")
    options = parser.parse_args()
    if os.geteuid() != 0:
        say("namespaces and the servers' ports need root")
        return sys.exit(3)
    if INSIDE not in os.environ:
        enter_namespace()
    cable = Cable()
    with tempfile.TemporaryDirectory(prefix="http-bench-", dir=TARGET) as name:
        folder = pathlib.Path(name)
        files = folder / "files"
        files.mkdir()
        (files / "small").write_bytes(b"#!ipxe\n" + b"echo small\n" * 30)
        with open(files / "file", "wb") as file:
            for _ in range(options.mebibytes):
                file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())
        size = options.mebibytes << 20
        peer = nginx(folder / "nginx", files)
        if options.only != "scripts":
            servers = [bootgate(folder / "bootgate", files, "off"), peer]
            for what, measure in (("one", lambda: one_client(cable, servers, size, options)),
                                  ("many", lambda: many_clients(cable, servers, size, options)),
                                  ("cold", lambda: cold(cable, servers, files, size))):
                if options.only in (None, what):
                    measure()
            servers[0].stop()
        if options.only in (None, "scripts"):
            scripts(cable, peer, folder, files, options)
        peer.stop()


if len(sys.argv) > 1 and sys.argv[1] in OURS:
    OURS[sys.argv[1]](*sys.argv[2:])
else:
    for needed in ("nginx", "wrk", "curl"):
        if shutil.which(needed) is None:
            sys.exit(f"{needed} is not installed")
    main()
