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


def start_ours(file):
    process = subprocess.Popen([TOOL, "serve", OURS, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("our server does not start")
    return process


def start_dnsmasq(folder):
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=0",
               "--user=root", "--group=root", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=",
               "--enable-tftp", f"--tftp-root={folder}", "--tftp-max=200", "--quiet-tftp", "--log-facility=/dev/null"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fetch(server, file, window, clients=1):
    command = [TOOL, "fetch", server, file, str(BLOCK), str(window), str(clients)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.stderr:
        say(done.stderr.strip().splitlines()[0])
    return json.loads(done.stdout)


def megabytes(server, file, window):
    result = fetch(server, file, window)
    if result["failures"]:
        raise RuntimeError(f"{server} failed a single client")
    return result["megabytes_per_second"]


def one_client(rounds, file):
    rates = {"bootgate": [], "dnsmasq": [], "bootgate, window 16": []}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        rates["bootgate"].append(megabytes(OURS, file, 1))
        rates["dnsmasq"].append(megabytes(DNSMASQ, file, 1))
        rates["bootgate, window 16"].append(megabytes(OURS, file, 16))
    medians = {who: statistics.median(all_) for who, all_ in rates.items()}
    for who, rate in medians.items():
        figure(f"tftp: one client, blksize {BLOCK}", rate, "MB/s", peer=who, all=rates[who])
    figure("tftp: lock-step, ratio to dnsmasq", round(medians["bootgate"] / medians["dnsmasq"], 2), "", least=1.0)
    figure("tftp: window 16, ratio to dnsmasq", round(medians["bootgate, window 16"] / medians["dnsmasq"], 2), "",
           least=3.0)


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
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each single client; the median counts")
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
        for what, path in [("one", file), ("many", part)]:
            ours = start_ours(path)
            if what == "one":
                # dnsmasq tells nobody when it listens: the client asks until it is answered.
                fetch(DNSMASQ, path, 1)
                one_client(options.rounds, path)
            else:
                many_clients(path, options.clients)
                memory(ours)
            ours.stdin.close()
            ours.wait(timeout=30)
        dnsmasq.kill()
        dnsmasq.wait()


if shutil.which("dnsmasq") is None:
    sys.exit("dnsmasq is not installed")
main()
