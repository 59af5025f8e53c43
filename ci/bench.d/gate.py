"""The boot gate beside the stock chain: dnsmasq, nginx and the distribution's iPXE.

Both boot the same virtual machine (QEMU's own arguments are taken from bootgate's log; only the network and the sockets
differ), the same kernel, initial RAM disk, kernel arguments and image. The clock runs from the moment the CPU starts to
the agent's `flash complete` on the console.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BOOTGATE = TOP / "target/release/bootgate"
SCENARIOS = TOP / "fixtures/scenarios"
DONE = "bootgate-agent: flash complete"


def say(text):
    print(text, file=sys.stderr, flush=True)


def figure(name, value, unit, **more):
    print(json.dumps({"figure": name, "value": value, "unit": unit, **more}), flush=True)


class Run:
    """One run of bootgate, read from its log."""

    def __init__(self, scenario, folder):
        self.folder = pathlib.Path(folder)
        began = time.monotonic()
        done = subprocess.run(
            [BOOTGATE, "run", SCENARIOS / f"{scenario}.toml", "--out", folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )
        self.wall_s = time.monotonic() - began
        self.code = done.returncode
        text = (pathlib.Path(folder) / "events.jsonl").read_text()
        self.events = [json.loads(line) for line in text.splitlines()]
        self.verdict = json.loads((pathlib.Path(folder) / "verdict.json").read_text())

    def of(self, kind, **fields):
        return [e for e in self.events if e["kind"] == kind and all(e.get(k) == v for k, v in fields.items())]

    def flash_s(self, target):
        """Power-on to the agent's marker."""
        on = self.of("powered-on", target=target)[0]["mono_us"]
        console = self.console(target)
        end = console.index(DONE.encode()) + len(DONE)
        for chunk in self.of("console-chunk", target=target):
            if chunk["offset"] + chunk["len"] >= end:
                return (chunk["mono_us"] - on) / 1e6
        raise RuntimeError("the marker is in no chunk")

    def console(self, target):
        return (self.folder / "console" / f"{target}.log").read_bytes()

    def guest_s(self):
        """Time in which at least one target had power."""
        edges = sorted(
            [(e["mono_us"], 1) for e in self.of("powered-on")] + [(e["mono_us"], -1) for e in self.of("powered-off")]
        )
        total = on = since = 0
        for at, step in edges:
            if on == 0 and step == 1:
                since = at
            on += step
            if on == 0:
                total += at - since
        return total / 1e6


def run(scenario, folder):
    result = Run(scenario, folder)
    if result.code != 0:
        say(f"{scenario}: exit {result.code}: {result.verdict.get('detail')}")
    return result


def stock(firmware, argv, cmdline, remedies):
    """Seconds from CPU start to the marker in the stock chain, in a network namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="bootgate-bench-") as folder:
        job = {"firmware": firmware, "argv": argv, "cmdline": cmdline, "remedies": remedies, "folder": folder,
               "top": str(TOP), "marker": DONE}
        path = pathlib.Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        # The PID namespace takes dnsmasq, nginx and QEMU away whatever happens to the script.
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
                   str(TOP / "ci/bench.d/stock_chain.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            raise RuntimeError(f"stock chain, {firmware}: {done.stdout}\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])["seconds"]


def chains(rounds, folder):
    for firmware, bound in [("bios", 0.35), ("uefi", 0.45)]:
        times = {"bootgate": [], "stock": [], "stock with remedies": []}
        for number in range(rounds):
            say(f"{firmware}: round {number + 1} of {rounds}")
            ours = run(f"{firmware}-flash", f"{folder}/{firmware}")
            target = ours.verdict["targets"][0]["name"]
            times["bootgate"].append(ours.flash_s(target))
            argv = ours.of("qemu-started")[0]["argv"]
            cmdline = scenario_cmdline(firmware)
            times["stock"].append(stock(firmware, argv, cmdline, False))
            times["stock with remedies"].append(stock(firmware, argv, cmdline, True))
        medians = {peer: round(statistics.median(list_), 2) for peer, list_ in times.items()}
        for peer, seconds in medians.items():
            figure(f"{firmware}: power-on to flash complete", seconds, "s", peer=peer,
                   all=[round(t, 2) for t in times[peer]])
        figure(f"{firmware}: ratio to the stock chain", round(medians["bootgate"] / medians["stock"], 3), "", bound=bound)
        figure(f"{firmware}: ratio to the stock chain with remedies",
               round(medians["bootgate"] / medians["stock with remedies"], 3), "", bound=1.0)


def scenario_cmdline(firmware):
    text = (SCENARIOS / f"{firmware}-flash.toml").read_text()
    for line in text.splitlines():
        if line.strip().startswith("cmdline"):
            return line.split("=", 1)[1].strip().strip('"')
    return "console=ttyS0"


def own_figures(folder):
    for scenario in ["bios-flash", "uefi-flash"]:
        run(scenario, f"{folder}/warm")
        done = run(scenario, f"{folder}/warm")
        figure(f"{scenario}: harness overhead", round(done.wall_s - done.guest_s(), 2), "s", bound=1.0,
               wall_s=round(done.wall_s, 2), guest_s=round(done.guest_s(), 2))
        flashed = done.of("agent-flashed")[0]
        figure(f"{scenario}: start of PID 1 to first image bytes asked for", flashed["first_fetch_ms"], "ms", bound=600)
        spans = {s["stage"]: s["end_ms"] - s["start_ms"] for s in done.verdict["targets"][0]["stages"]}
        figure(f"{scenario}: stages", spans, "ms")
    initrd = (TOP / "target/media/live/initrd.img").stat().st_size
    figure("initrd", round(initrd / 2**20, 2), "MiB", bound=12)


def memory(folder):
    """What QEMU takes beside the guest's RAM, sampled while a client boots; and bootgate's own peak."""
    command = [BOOTGATE, "run", SCENARIOS / "uefi-flash.toml", "--out", f"{folder}/memory"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    beside = own = 0
    while process.poll() is None:
        own = max(own, high_water(process.pid))
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
                if b"qemu-system" in line and f"{folder}/memory".encode() in line:
                    beside = max(beside, beside_guest_ram(entry, 512 * 1024))
            except OSError:
                continue
        time.sleep(0.2)
    figure("QEMU resident memory beside the guest's RAM, peak", round(beside / 1024, 1), "MiB", bound=150)
    figure("bootgate resident memory, peak", round(own / 1024, 1), "MiB")


def beside_guest_ram(pid, ram_kib):
    """Resident KiB of a process without its mapping of the guest's RAM."""
    total = size = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif line.startswith("Rss:") and size != ram_kib:
            total += int(line.split()[1])
    return total


def high_water(pid):
    """Peak resident KiB of a process, by the kernel's own mark."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def pairs(count, folder):
    passes = 0
    for number in range(count):
        done = run("pair", f"{folder}/pair")
        passes += done.code == 0
        say(f"pair {number + 1} of {count}: {done.verdict['verdict']} in {done.wall_s:.1f} s")
    figure("consecutive passes of pair.toml", passes, "", of=count, bound=count)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each chain; the median counts")
    parser.add_argument("--pairs", type=int, default=20, help="consecutive runs of pair.toml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bootgate-bench-") as folder:
        own_figures(folder)
        memory(folder)
        if os.geteuid() == 0:
            chains(options.rounds, folder)
        else:
            say("the stock chain needs root for its tap: skipped")
        pairs(options.pairs, folder)


main()
