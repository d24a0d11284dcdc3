"""Timing of commands and pipelines, what they cost, and the table of figures against their targets.

Memory is the high-water mark that the kernel keeps for the process, read while it runs: what wait4()
reports starts at the size of the parent at its fork, which says nothing about the child.
"""

import os
import signal
import statistics
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.05


class Failed(Exception):
    """A measured command ended with an error."""


def cpu_seconds(pid):
    """User and system time of a process with all its threads; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def thread_seconds(pid):
    """{(thread id, name): CPU seconds}."""
    found = {}
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/stat") as f:
                head, tail = f.read().rsplit(")", 1)
            fields = tail.split()
            found[int(tid), head.split("(", 1)[1]] = (int(fields[11]) + int(fields[12])) / TICKS
    except OSError:
        pass
    return found


def peak_bytes(pid):
    """The most resident memory the process had; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


class Sampler(threading.Thread):
    """Follows one process: its peak memory and the CPU time of its threads, by name. Threads that
    live less than a sample are missed, so the sum is a lower bound."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.threads = pid, 0, {}
        self.done = threading.Event()
        self.start()

    def run(self):
        while True:
            self.peak = max(self.peak, peak_bytes(self.pid))
            self.threads.update(thread_seconds(self.pid))
            if self.done.wait(SAMPLE_SECONDS):
                return

    def stop(self):
        self.done.set()
        self.join()

    def by_name(self):
        total = {}
        for (_, name), seconds in self.threads.items():
            total[name] = total.get(name, 0.0) + seconds
        return {name: round(s, 2) for name, s in sorted(total.items(), key=lambda i: -i[1]) if s >= 0.05}


class Runner:
    """Runs what is measured, one at a time. `daemons` is {name: pid} of those whose CPU time is
    accounted to it; `env` is added to the environment of every command."""

    def __init__(self, log_path):
        self.log_path, self.daemons, self.env, self.child = log_path, {}, {}, None

    def run(self, command, text_out=None, profile=False):
        """A list is executed, a string goes to a shell. Returns what it took; `text_out` names the file
        for stdout. With `profile`, also peak memory and CPU time by thread."""
        argv = command if isinstance(command, list) else ["bash", "-c", "set -o pipefail; " + command]
        before = {name: cpu_seconds(pid) for name, pid in self.daemons.items()}
        with open(self.log_path, "ab") as log, open(text_out or os.devnull, "wb") as out:
            log.write(f"\n$ {command}\n".encode())
            log.flush()
            began = time.monotonic()
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                          start_new_session=True, env={**os.environ, **self.env})
            sampler = Sampler(self.child.pid) if profile else None
            _, status, usage = os.wait4(self.child.pid, 0)
            seconds = time.monotonic() - began
        self.child.returncode = os.waitstatus_to_exitcode(status)
        if sampler:
            sampler.stop()
        if self.child.returncode != 0:
            raise Failed(f"exit {self.child.returncode}: {command}\n{self.log_tail()}")
        result = {"seconds": round(seconds, 3), "cpu": round(usage.ru_utime + usage.ru_stime, 2)}
        result["daemons_cpu"] = {name: round(cpu_seconds(pid) - before[name], 2)
                                 for name, pid in self.daemons.items()}
        if sampler:
            result.update(peak_rss=sampler.peak, threads_cpu=sampler.by_name())
        return result

    def log_tail(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()[-3000:]

    def kill(self):
        """Ends what an interruption left running, the whole pipeline."""
        if self.child is not None and self.child.returncode is None:
            try:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
            except (ProcessLookupError, ChildProcessError):
                pass


def sort_out(contenders, round_number):
    """The contenders in another order every round, so that no one always runs on warm caches."""
    shift = round_number % len(contenders)
    return contenders[shift:] + contenders[:shift]


class Figures:
    """All raw numbers, by measurement and contender, and the table made of them."""

    def __init__(self):
        self.raw = {}

    def add(self, what, who, result):
        self.raw.setdefault(what, {}).setdefault(who, []).append(result)

    def median(self, what, who, key="seconds"):
        values = [r[key] for r in self.raw.get(what, {}).get(who, []) if r.get(key) is not None]
        return statistics.median(values) if values else None


def format_value(value, unit):
    if value is None:
        return "-"
    if unit == "s":
        return f"{value:.2f} s"
    if unit == "bytes":
        return f"{value / (1 << 20):.1f} MiB"
    if unit == "bytes/s":
        return f"{value / (1 << 20):.1f} MiB/s"
    if unit in ("objects/s", "reads/s"):
        return f"{value:.0f} /s"
    return f"{value:.2f}"


class Table:
    """Rows of: what, ours, the peer's, the ratio of both, the target and whether it is met."""

    def __init__(self):
        self.rows = []

    def against(self, what, ours, peer_name, peer, unit, at_most=None, at_least=None):
        """A figure that is held against a peer's in the same run: at most so many times as much, or, of a
        rate, at least."""
        if ours is None or peer is None:
            return
        ratio = ours / peer if peer else float("inf")
        met = None
        if at_least is not None:
            met = ratio >= at_least
        elif at_most is not None:
            met = ratio <= at_most
        self.rows.append({"what": what, "ours": ours, "unit": unit, "peer": peer, "peer_name": peer_name,
                          "ratio": round(ratio, 3), "target": at_most if at_least is None else at_least,
                          "bound": "<=" if at_least is None else ">=", "relative": True, "met": met})

    def alone(self, what, ours, unit, at_most=None, strict=False, at_least=None):
        """A figure with a bound of its own; `strict` where it must stay below it."""
        if ours is None:
            return
        met = None if at_most is None else (ours < at_most if strict else ours <= at_most)
        if at_least is not None:
            met = ours >= at_least
        self.rows.append({"what": what, "ours": ours, "unit": unit, "peer": None, "peer_name": "",
                          "ratio": None, "target": at_most if at_least is None else at_least,
                          "bound": "<=" if at_least is None else ">=", "relative": False, "met": met})

    def text(self):
        lines = [f"{'figure':<44}{'tidemark':>12}{'peer':>12}  {'':<22}{'ratio':>7}  target"]
        for row in self.rows:
            target = ""
            if row["target"] is not None:
                bound = f"{row['target']:.2f}x" if row["relative"] else format_value(row["target"], row["unit"])
                target = f"{row['bound']} {bound:<12}{'ok' if row['met'] else 'MISSED'}"
            ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else ""
            peer = format_value(row["peer"], row["unit"]) if row["peer_name"] else ""
            lines.append(f"{row['what']:<44}{format_value(row['ours'], row['unit']):>12}{peer:>12}"
                         f"  {row['peer_name']:<22}{ratio:>7}  {target}".rstrip())
        return "\n".join(lines)
