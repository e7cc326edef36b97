#!/usr/bin/env python3
"""What a query costs more in a deployment than in one process: `sealdex serve` and one coordinator with three shard nodes, one after the
other on this machine, with the same data and the same tool, and the time of a query by stage.

    cargo build --release --workspace --bins
    python3 tests/peers/deployment.py
    python3 tests/peers/deployment.py --data base.npy --queries queries.npy --truth gt.npy

All nodes share the cores that the one process has alone, so the deployment cannot win here: the figures tell the price of its way, not
what more machines bring. Every process listens on loopback only and keeps its data and log in --out. Times of stages are read from the
coordinator's figures (/metrics) before and after the queries of one client; processor time is what the kernel says of each process.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from compare import free_port, load_report, sealdex_binary, stop

READY_SECONDS = 120
SHARDS = 3
KINDS = ("one process", f"1 + {SHARDS} nodes")
REQUESTS = "sealdex_http_request_duration_seconds"
STAGE = "sealdex_stage_duration_seconds"
CALL = "sealdex_shard_call_duration_seconds"
STAGES = ("open_index", "inbox", "model", "count", "scan", "resolve", "answer")


def main():
    arguments = parse_arguments()
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    sides = [run_side(kind, arguments) for kind in KINDS]
    print(table(sides))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sealdex", type=Path, help="the binary (default: the newest of the usual target directories)")
    parser.add_argument("--out", type=Path, default=Path("/tmp/sealdex-deployment"))
    parser.add_argument("--generate", default="clustered:50000x128:16")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    return parser.parse_args()


def run_side(kind, arguments):
    """Starts one kind of deployment, measures it with one client and with eight, and stops it."""
    folder = arguments.out / kind.replace(" ", "-")
    folder.mkdir()
    nodes = Nodes(sealdex_binary(arguments), folder)
    try:
        nodes.start_embedded() if kind == KINDS[0] else nodes.start_deployment()
        return measure(nodes, arguments)
    finally:
        nodes.stop()


class Nodes:
    """Processes that were started here."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.processes, self.rest, self.admin = {}, free_port(), free_port()

    def start_embedded(self):
        self.start("serve", ["serve", "--port", self.rest], self.admin)

    def start_deployment(self):
        certificates, token = self.folder / "certs", self.folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.certs(certificates, "init")
        peer = free_port()
        names = {"coordinator-1": ("coordinator", peer, self.admin)}
        names |= {f"shard-{n}": ("shard", free_port(), free_port()) for n in range(1, SHARDS + 1)}
        for name, (role, address, admin) in names.items():
            self.certs(certificates, "node", "--role", role, "--name", name, "--ip", "127.0.0.1")
            command = [role, "--name", name, "--peer-address", f"127.0.0.1:{address}", "--advertise", f"127.0.0.1:{address}"]
            command += ["--tls-dir", certificates, "--join", f"127.0.0.1:{peer}", "--join-token-file", token]
            if role == "coordinator":
                command += ["--bootstrap", "--expected-shards", SHARDS, "--host", "127.0.0.1", "--port", self.rest]
            self.start(name, command, admin, wait=False)
        for name, (_, _, admin) in names.items():
            self.wait_until_ready(name, admin)

    def certs(self, folder, *command):
        words = [str(word) for word in (self.binary, "certs", *command, "--dir", folder)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    def start(self, name, command, admin, wait=True):
        command = [self.binary, *command, "--data-dir", self.folder / name, "--admin-address", f"127.0.0.1:{admin}", "--log", "warn"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("CYBORGDB_", "SEALDEX_"))}
        with open(self.folder / f"{name}.log", "w") as log:
            words = [str(word) for word in command]
            self.processes[name] = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        if wait:
            self.wait_until_ready(name, admin)

    def wait_until_ready(self, name, admin):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=2).read()
                return
            except OSError:
                time.sleep(0.2)
        sys.exit(f"error: {name} does not get ready; its log is {self.folder / name}.log")

    def figures(self):
        """Sums and counts of the figures of whoever serves clients, by name and labels."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10).read().decode()
        lines = (re.fullmatch(r"(\S+_(?:sum|count))(\{.*\})? (\S+)", line) for line in text.splitlines())
        return {(found[1], found[2] or ""): float(found[3]) for found in lines if found}

    def processor_seconds(self):
        """Of all shard nodes together, and of whoever serves clients."""
        ticks = os.sysconf("SC_CLK_TCK")

        def of(process):
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / ticks

        spent = {name: of(process) for name, process in self.processes.items()}
        shards = sum(seconds for name, seconds in spent.items() if name.startswith("shard"))
        return {"shards": shards, "front": sum(spent.values()) - shards}

    def stop(self):
        for process in self.processes.values():
            stop(process, signal.SIGTERM)


def measure(nodes, arguments):
    """Loads an index, then asks it with one client and with eight, and takes the figures around the queries."""
    common = [nodes.binary, "bench", "--url", f"http://127.0.0.1:{nodes.rest}", "--index-key", secrets.token_hex(32), "--probes", "auto"]
    for option in ("data", "queries", "truth"):
        if getattr(arguments, option) is not None:
            common += [f"--{option}", getattr(arguments, option)]
    if not arguments.data:
        common += ["--generate", arguments.generate]
    ingest = run(common + ["--parts", "ingest", "--keep"], nodes.folder / "load")["ingest"]
    with urllib.request.urlopen(f"http://127.0.0.1:{nodes.rest}/v1/indexes/list") as answer:
        (index,) = json.load(answer)["indexes"]
    asked = {}
    for clients in (1, 8):
        before, spent = nodes.figures(), nodes.processor_seconds()
        ask = ["--parts", "query", "--clients", clients, "--seconds", arguments.seconds, "--reuse", index]
        points = run(common + ask, nodes.folder / f"clients-{clients}")["points"]
        after, spent_after = nodes.figures(), nodes.processor_seconds()
        change = {name: value - before.get(name, 0.0) for name, value in after.items()}
        queries = sum(count for (name, labels), count in change.items() if name == f"{REQUESTS}_count" and "vectors/query" in labels)
        asked[clients] = {
            "point": points[0],
            "stages": {stage: change.get((f"{STAGE}_sum", f'{{stage="{stage}"}}'), 0.0) / queries for stage in STAGES},
            "calls": {labels: count / queries for (name, labels), count in change.items() if name == f"{CALL}_count" and count},
            "processor": {who: (spent_after[who] - spent[who]) / queries for who in spent},
        }
    return {"ingest": ingest, "asked": asked}


def run(command, to):
    """Runs the tool; returns its report."""
    report = to.with_suffix(".json")
    with open(to.with_suffix(".txt"), "w") as output:
        words = [str(word) for word in (*command, "--output", report)]
        subprocess.run(words, check=True, stdout=output, stderr=subprocess.STDOUT)
    return load_report(report)


def table(sides):
    rows = [("", *KINDS)]
    rows.append(("upload, vectors/s", *(f"{side['ingest']['vectors_per_second']:,.0f}" for side in sides)))
    rows.append(("train, s", *(f"{side['ingest']['train_seconds']:.1f}" for side in sides)))
    for clients in (1, 8):
        asked = [side["asked"][clients] for side in sides]
        points = [(one["point"], one["point"]["latency"]) for one in asked]
        rows.append((f"queries/s, {clients} client(s)", *(f"{point['queries_per_second']:,.0f}" for point, _ in points)))
        rows.append(("  recall@10", *(f"{point['recall']:.3f}" for point, _ in points)))
        rows.append(("  p50 / p99 ms", *(f"{latency['p50_ms']:.2f} / {latency['p99_ms']:.2f}" for _, latency in points)))
        for who in asked[0]["processor"]:
            rows.append((f"  processor ms per query, {who}", *(f"{one['processor'][who] * 1000:.2f}" for one in asked)))
    alone = [side["asked"][1] for side in sides]
    rows += [(f"{stage}, ms per query, 1 client", *(f"{one['stages'][stage] * 1000:.3f}" for one in alone)) for stage in STAGES]
    for call in sorted({call for one in alone for call in one["calls"]}):
        rows.append((f"calls of shards per query, {call}", *(f"{one['calls'].get(call, 0):.1f}" for one in alone)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths))) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
