"""The TFTP server beside dnsmasq's, in one run over loopback, in a network namespace of their own.

Both serve one file from the page cache to the same client (crates/server/examples/tftp_bench.rs), which compares every
block with the file. dnsmasq knows no windows: its figure for any window is the one of its lock-step.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
TOOL = TARGET / "release/examples/tftp_bench"
INSIDE = "BOOTGATE_BENCH_INSIDE"
BLOCK = 1428
OURS = "127.0.0.1:6969"
DNSMASQ = "127.0.0.1:69"


def say(text):
    print(text, file=sys.stderr, flush=True)


def figure(name, value, unit, **more):
    print(json.dumps({"figure": name, "value": value, "unit": unit, **more}), flush=True)


def enter_namespace():
    """Runs this script again in namespaces of its own; whatever it starts there is gone when it ends."""
    os.environ[INSIDE] = "1"
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    os.execvp(command[0], command + [sys.executable] + sys.argv)


def start_ours(folder):
    process = subprocess.Popen([TOOL, "serve", OURS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("our server does not start")
    return process


def start_dnsmasq(folder):
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=0",
               "--user=root", "--group=root", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=",
               "--enable-tftp", f"--tftp-root={folder}", "--tftp-max=200", "--quiet-tftp", "--log-facility=/dev/null"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu_seconds(process):
    """Processor time of a server so far."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fetch(server, file, window, clients=1):
    command = [TOOL, "fetch", server, file, str(BLOCK), str(window), str(clients)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.stderr:
        say(done.stderr.strip().splitlines()[0])
    return json.loads(done.stdout)


def place(processors, *processes):
    """Lets the servers, and the client that is started next, run on these processors only."""
    for process in processes:
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            os.sched_setaffinity(int(thread), processors[0])
    os.sched_setaffinity(0, processors[1])


def placements():
    """Where server and client run. By itself the scheduler takes one or the other, and changes its mind: a wake-up on
    the same processor costs a tenth of one that crosses to an idle one, so a figure without a place is a coin's throw."""
    every = sorted(os.sched_getaffinity(0))
    yield "one processor", ({every[0]}, {every[0]})
    if len(every) > 1:
        yield "two processors", ({every[0]}, {every[1]})
    yield "any processor", (set(every), set(every))


def one_client(rounds, folder, ours, dnsmasq):
    subjects = {"bootgate": (ours, OURS, 1), "dnsmasq": (dnsmasq, DNSMASQ, 1), "bootgate, window 16": (ours, OURS, 16)}
    for where, processors in placements():
        place(processors, ours, dnsmasq)
        # Across processors the wake-ups take all the time there is.
        file = folder / ("part" if where == "two processors" else "file")
        size = file.stat().st_size / 1e9
        rates = {who: [] for who in subjects}
        costs = {who: [] for who in subjects}
        for number in range(rounds):
            say(f"{where}: round {number + 1} of {rounds}")
            for who, (process, server, window) in subjects.items():
                before = cpu_seconds(process)
                result = fetch(server, file, window)
                if result["failures"]:
                    raise RuntimeError(f"{who} failed a single client")
                rates[who].append(result["megabytes_per_second"])
                costs[who].append((cpu_seconds(process) - before) / size)
        for who in subjects:
            figure(f"tftp: one client, blksize {BLOCK}, {where}", statistics.median(rates[who]), "MB/s", peer=who,
                   all=rates[who])
        for who in subjects:
            figure(f"tftp: processor time of the server, {where}", round(statistics.median(costs[who]), 2), "s/GB",
                   peer=who)
        medians = {who: statistics.median(all_) for who, all_ in rates.items()}
        for name, who, least in [("lock-step", "bootgate", 1.0), ("window 16", "bootgate, window 16", 3.0)]:
            figure(f"tftp: {name}, ratio to dnsmasq, {where}", round(medians[who] / medians["dnsmasq"], 2), "",
                   least=least)


def many_clients(file, count):
    for who, server in [("bootgate", OURS), ("dnsmasq", DNSMASQ)]:
        for window in [1, 16] if server == OURS else [1]:
            say(f"{count} clients of {who}, window {window}")
            result = fetch(server, file, window, count)
            figure(f"tftp: {count} clients at once, window {window}, together", result["megabytes_per_second"], "MB/s",
                   peer=who)
            bound = {"bound": 0} if server == OURS else {}
            figure(f"tftp: {count} clients at once, window {window}, failures", result["failures"], "", peer=who,
                   **bound)


def memory(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            figure("tftp: resident memory of the server, peak", round(int(line.split()[1]) / 1024, 1), "MiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each single client; the median counts")
    parser.add_argument("--mebibytes", type=int, default=128, help="size of the file for a single client")
    parser.add_argument("--clients", type=int, default=64, help="clients at once; each gets an eighth of the file")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        enter_namespace()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="bootgate-bench-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        file, part = folder / "file", folder / "part"
        content = os.urandom(options.mebibytes << 20)
        file.write_bytes(content)
        part.write_bytes(content[: len(content) // 8])
        dnsmasq = start_dnsmasq(folder)
        ours = start_ours(folder)
        # dnsmasq tells nobody when it listens: the client asks until it is answered.
        fetch(DNSMASQ, part, 1)
        one_client(options.rounds, folder, ours, dnsmasq)
        many_clients(part, options.clients)
        memory(ours)
        ours.stdin.close()
        ours.wait(timeout=30)
        dnsmasq.kill()
        dnsmasq.wait()


if shutil.which("dnsmasq") is None:
    sys.exit("dnsmasq is not installed")
main()
