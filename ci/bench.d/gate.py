"""The boot gate beside the stock chain: dnsmasq, nginx and the distribution's iPXE.

Both boot the same virtual machine (QEMU's own arguments are taken from bootgate's log; only the network and the sockets
differ), the same kernel, initial RAM disk, kernel arguments and image. The clock runs from the moment the CPU starts to
the agent's `flash complete` on the console.

The floor of a chain is the same machine with QEMU's `-kernel` (the firmware's start is in it), and the time in which the
firmware's own network client runs before it fetches the first byte of a boot program: nothing that is sent to it
changes either. What is left is the chain's own.
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
BOOTGATE = pathlib.Path(os.environ.get("BOOTGATE", TOP / "target/release/bootgate"))
SCENARIOS = TOP / "fixtures/scenarios"
DONE = "bootgate-agent: flash complete"
# Where nothing is flashed, PID 1 of the live environment is the end.
LIVE = "bootgate-agent: started"
PLAIN = "stock, plain kernel arguments"
GENERIC = "stock, plain kernel arguments, the distribution's live environment"


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

    def until_s(self, target, marker=DONE):
        """Power-on to a line on the console."""
        on = self.of("powered-on", target=target)[0]["mono_us"]
        console = self.console(target)
        end = console.index(marker.encode()) + len(marker)
        for chunk in self.of("console-chunk", target=target):
            if chunk["offset"] + chunk["len"] >= end:
                return (chunk["mono_us"] - on) / 1e6
        raise RuntimeError("the marker is in no chunk")

    def stages(self, target, marker):
        """Milliseconds of each stage from power-on to the marker. A stage that this firmware has not is left out."""
        on = self.of("powered-on", target=target)[0]["mono_us"]
        fetch = lambda role: [e["mono_us"] for e in self.of("transfer-started", target=target) if e["role"] == role]
        first_dhcp = [e["mono_us"] for e in self.of("dhcp-received", target=target)]
        payload = [e["mono_us"] for e in self.of("transfer-completed", target=target) if e["role"] in ("kernel", "initrd")]
        agent = [e["mono_us"] for e in self.of("marker-matched", target=target, name="agent")]
        # QEMU's BIOS ROM is an iPXE: it asks for its script, and there is no boot program before that.
        program = fetch("nbp") or fetch("script")
        ends = [("firmware", first_dhcp), ("firmware's network client", program), ("boot program", fetch("kernel")),
                ("kernel and initrd", payload[-1:]), ("live", agent)]
        found, since = {}, on
        for name, times in ends:
            if times:
                found[name] = round((times[0] - since) / 1e3)
                since = times[0]
        if marker == DONE:
            found["flash"] = round(self.until_s(target) * 1e3 - (since - on) / 1e3)
        return found

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


def stock(argv, cmdline, **options):
    """Seconds from CPU start to the marker in the stock chain, in a network namespace of its own. With `direct`, QEMU
    loads the kernel; with `remedies`, dnsmasq sends what ends iPXE's waits."""
    with tempfile.TemporaryDirectory(prefix="bootgate-bench-") as folder:
        job = {"argv": argv, "cmdline": cmdline, "remedies": False, "folder": folder, "top": str(TOP), "marker": DONE,
               **options}
        path = pathlib.Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        # The PID namespace takes dnsmasq, nginx and QEMU away whatever happens to the script.
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
                   str(TOP / "ci/bench.d/stock_chain.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            raise RuntimeError(f"stock chain: {done.stdout}\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])["seconds"]


def generic_live(folder):
    """The initial RAM disk that the distribution makes of the same kernel, with the same agent in it."""
    out = pathlib.Path(folder) / "distribution-initrd.img"
    if not out.exists():
        agent = TOP / "target/static/x86_64-unknown-linux-gnu/agent/bootgate-agent"
        subprocess.run([TOP / "ci/bench.d/distribution_live.sh", TOP / "target/kernel", agent, out], check=True,
                       stdout=sys.stderr)
    return out


class Chains:
    """The rounds of one scenario: bootgate, its floor, and the stock chain."""

    def __init__(self, name, marker):
        self.name, self.marker = name, marker
        self.what = f"{name}: power-on to {'flash complete' if marker == DONE else 'PID 1'}"
        self.times, self.stages = {}, []

    def add(self, peer, seconds):
        self.times.setdefault(peer, []).append(seconds)

    def round(self, folder, peers):
        ours = run(self.name, f"{folder}/{self.name}")
        target = ours.verdict["targets"][0]["name"]
        self.add("bootgate", ours.until_s(target, self.marker))
        self.stages.append(ours.stages(target, self.marker))
        argv, cmdline = ours.of("qemu-started")[0]["argv"], scenario_cmdline(self.name)
        self.add("-kernel", stock(argv, cmdline, direct=True, marker=self.marker))
        if peers:
            self.add("stock", stock(argv, cmdline))
            self.add("stock with remedies", stock(argv, cmdline, remedies=True))
            # What the kernel arguments of the scenario win on top, and what the live environment.
            self.add(PLAIN, stock(argv, "console=ttyS0"))
            self.add(GENERIC, stock(argv, "console=ttyS0 boot=bootgate", initrd=str(generic_live(folder))))

    def median(self, peer):
        return statistics.median(self.times[peer])

    def tell(self, bound):
        for peer, times in self.times.items():
            figure(self.what, round(self.median(peer), 2), "s", peer=peer,
                   all=[round(t, 2) for t in times])
        stages = {name: round(statistics.median(one.get(name, 0) for one in self.stages)) for name in self.stages[0]}
        figure(f"{self.name}: stages", stages, "ms")
        client = stages.get("firmware's network client", 0) / 1e3
        beyond = self.median("bootgate") - self.median("-kernel")
        figure(f"{self.name}: beyond -kernel", round(beyond, 2), "s", firmware_client_s=round(client, 2))
        figure(f"{self.name}: beyond the firmware's own time and -kernel", round(beyond - client, 2), "s",
               bound=1.0 if bound else None)
        if "stock" in self.times:
            ratio = lambda peer: round(self.median("bootgate") / self.median(peer), 3)
            figure(f"{self.name}: ratio to the stock chain", ratio("stock"), "", bound=bound)
            figure(f"{self.name}: ratio to the stock chain with remedies", ratio("stock with remedies"), "", bound=1.0)
            won = lambda more, less: round(self.median(more) - self.median(less), 2)
            figure(f"{self.name}: what the kernel arguments and the live environment win", won(GENERIC, "stock"), "s",
                   kernel_arguments=won(PLAIN, "stock"), live_environment=won(GENERIC, PLAIN))


def chains(rounds, folder, only):
    # The stock chain of the last two would be a copy of ours: no distribution brings one.
    for name, bound, peers, marker in [("bios-flash", 0.25, True, DONE), ("uefi-flash", 0.32, True, DONE),
                                       ("uefi-rom", 0.32, True, DONE), ("uefi-http", None, False, DONE),
                                       ("uefi-secureboot", None, False, LIVE)]:
        if only and name not in only:
            continue
        if not (SCENARIOS / f"{name}.toml").exists():
            say(f"{name}: no such scenario, skipped")
            continue
        chain = Chains(name, marker)
        for number in range(rounds):
            say(f"{name}: round {number + 1} of {rounds}")
            chain.round(folder, peers)
        chain.tell(bound)


def scenario_cmdline(scenario):
    text = (SCENARIOS / f"{scenario}.toml").read_text()
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
    parser.add_argument("--only", action="append", help="measure the chains of this scenario alone; may be repeated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bootgate-bench-") as folder:
        if not options.only:
            own_figures(folder)
            memory(folder)
        if os.geteuid() == 0:
            chains(options.rounds, folder, options.only)
        else:
            say("the stock chain needs root for its tap: skipped")
        if not options.only:
            pairs(options.pairs, folder)


main()
