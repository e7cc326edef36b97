#!/usr/bin/env python3
"""Sealdex beside the service it replaces: same machine, same run, same data, same tool, one table with ratios.

    cargo build --release -p sealdex-cli
    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install cyborgdb-service==0.17.0
    python3 tests/peers/compare.py --peer-venv /tmp/peer --generate clustered:50000x128:16
    python3 tests/peers/compare.py --peer-venv /tmp/peer --data base.npy --queries queries.npy --truth gt.npy --peer-pad-to 800

CyborgDB service 0.17 starts without a licence key (its free tier: up to 1,000,000 items per index) and needs no network.
It is started through uvicorn, because its own command listens on all interfaces. Some dimensions it cannot train (784, for
one): --peer-pad-to fills its vectors, and only its, with zeros. Its automatic training is switched off, since bulk loads
have ended the process with it on; the tool calls train instead, for both servers, and both log warnings only.

One after the other, each server gets an empty data directory, a port of the loopback interface, one run of `sealdex bench`
and is stopped. Reports (JSON), tables and logs stay in --out. Nothing else on the machine is touched; other load on it
spoils the figures, so the load before each run is printed. --budget bounds the minutes that one server's run may take: a
run cut off there still counts for what it had measured. --table prints the table of an earlier run's --out again.

Ratios are "how many times better is Sealdex", above 1 in its favour, for rates and costs alike. Where the peer never
reaches a recall, its best recall is what Sealdex is held against, and named.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RECALLS = (0.90, 0.95, 0.99)
STARTUP_SECONDS = 120
STOP_SECONDS = 30
# The peer's recall comes from rerank_mult, ours from n_probes: each is given the range in which it is good.
SWEEPS = {
    "cyborgdb": ["--probes", "auto,64", "--rerank-mult", "auto,200,400,1000"],
    "sealdex": ["--probes", "auto,2,4,8,16,32,64"],
}
BATCH = 1000
PARTS = "ingest,query,batch,filter,upsert,mixed"


def main():
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        for name in ("cyborgdb", "sealdex"):
            if arguments.only in (None, name):
                run_one(name, arguments)
    reports = {name: load_report(arguments.out / f"{name}.json") for name in ("cyborgdb", "sealdex")}
    print(table(reports))
    return 1 if any(report.get("error") for report in reports.values()) else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sealdex", type=Path, help="the binary (default: the newest of the usual target directories)")
    parser.add_argument("--peer-venv", type=Path, help="virtual environment with cyborgdb-service==0.17.0")
    parser.add_argument("--out", type=Path, default=Path("/tmp/sealdex-compare"))
    parser.add_argument("--only", choices=("cyborgdb", "sealdex"), help="run one of them, keep the other's last report")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of --out")
    parser.add_argument("--budget", type=float, default=45, help="minutes that one server's run may take")
    parser.add_argument("--generate", default="clustered:50000x128:16")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--metric", default="euclidean")
    parser.add_argument("--peer-pad-to", type=int)
    parser.add_argument("--parts", default=PARTS)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--max-seconds", type=float, default=15)
    return parser.parse_args()


def run_one(name, arguments):
    """Starts one server on fresh data, runs the tool against it, stops it."""
    data_dir, port = arguments.out / f"{name}-data", free_port()
    report = arguments.out / f"{name}.json"
    shutil.rmtree(data_dir, ignore_errors=True)
    report.unlink(missing_ok=True)
    data_dir.mkdir(parents=True)
    command, environment = server_command(name, arguments, data_dir, port)
    print(f"{name}: starting on port {port}, load before {os.getloadavg()[0]:.1f}", flush=True)
    with open(arguments.out / f"{name}.log", "w") as log:
        server = subprocess.Popen(command, env=environment, cwd=arguments.out, stdout=log, stderr=log)
        try:
            wait_until_healthy(name, server, port, arguments.out / f"{name}.log")
            bench(name, arguments, server.pid, data_dir, port, report)
        finally:
            stop(server, signal.SIGTERM)
    shutil.rmtree(data_dir, ignore_errors=True)


def server_command(name, arguments, data_dir, port):
    ours = ("CYBORGDB_", "SEALDEX_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    if name == "sealdex":
        command = [sealdex_binary(arguments), "serve", "--data-dir", data_dir, "--port", port]
        command += ["--auto-train-items", 0, "--log", "warn"]
        return [str(word) for word in command], environment
    if not arguments.peer_venv:
        sys.exit("error: --peer-venv is missing; see --help for how to make one, or give --only sealdex")
    environment |= {
        "CYBORGDB_DB_TYPE": "disk",
        "CYBORGDB_DISK_PATH": str(data_dir.resolve()),
        "PORT": str(port),
        "AUTO_TRAIN_DISABLED": "true",
        "HOME": str(arguments.out.resolve()),
    }
    python = arguments.peer_venv.resolve() / "bin" / "python"
    app = ["cyborgdb_service.app:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    return [str(python), "-m", "uvicorn", *app], environment


def bench(name, arguments, pid, data_dir, port, report):
    command = [sealdex_binary(arguments), "bench", "--url", f"http://127.0.0.1:{port}", "--metric", arguments.metric]
    command += ["--pid", pid, "--data-dir", data_dir, "--parts", arguments.parts, "--output", report]
    command += ["--seconds", arguments.seconds, "--max-seconds", arguments.max_seconds, "--timeout", 600]
    command += ["--batch-queries", BATCH]
    for option in ("data", "queries", "truth", "limit"):
        if getattr(arguments, option) is not None:
            command += [f"--{option}", getattr(arguments, option)]
    if not arguments.data:
        command += ["--generate", arguments.generate]
    if name == "cyborgdb" and arguments.peer_pad_to:
        command += ["--pad-to", arguments.peer_pad_to]
    command += SWEEPS[name]
    with open(arguments.out / f"{name}.txt", "w") as output:
        tool = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT)
        try:
            tool.wait(arguments.budget * 60)
        except subprocess.TimeoutExpired:
            print(f"{name}: cut off after {arguments.budget:.0f} minutes", flush=True)
        finally:
            stop(tool, signal.SIGINT)
    print((arguments.out / f"{name}.txt").read_text(), flush=True)


def sealdex_binary(arguments):
    if arguments.sealdex:
        return arguments.sealdex.resolve()
    targets = [os.environ.get("CARGO_TARGET_DIR"), REPOSITORY / "target", Path.home() / ".cache/sealdex/target"]
    found = [Path(target) / "release/sealdex" for target in targets if target]
    found = [binary for binary in found if binary.exists()]
    if not found:
        sys.exit("error: no sealdex binary; run cargo build --release -p sealdex-cli, or name one with --sealdex")
    return max(found, key=lambda binary: binary.stat().st_mtime)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(name, server, port, log):
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health", timeout=2).read()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"error: {name} did not start; its log is {log}")


def stop(process, politely):
    """Ends a process that we started, and only that one."""
    if process.poll() is None:
        process.send_signal(politely)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load_report(path):
    if not path.exists():
        return {"error": f"no report at {path}", "points": [], "footprints": [], "data": {}}
    return json.loads(path.read_text())


def table(reports):
    peer, own = reports["cyborgdb"], reports["sealdex"]
    rows = [("", "cyborgdb", "sealdex", "better by")]
    rows += ingest_rows(peer, own) + query_rows(peer, own) + filter_rows(peer, own) + cost_rows(peer, own)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths))) for row in rows]
    for name, report in reports.items():
        if report.get("error"):
            lines.append(f"{name} ended early: {report['error']}")
    return "\n".join(lines)


def ingest_rows(peer, own):
    def ready_rate(report):
        ingest = report.get("ingest")
        if ingest and "train_seconds" in ingest:
            return report["data"]["vectors"] / (ingest["upload_seconds"] + ingest["train_seconds"])
        return None

    return [
        rate("upload, vectors/s", pick(peer, "ingest", "vectors_per_second"), pick(own, "ingest", "vectors_per_second")),
        cost("train, s", pick(peer, "ingest", "train_seconds"), pick(own, "ingest", "train_seconds")),
        rate("upload and train, vectors/s", ready_rate(peer), ready_rate(own)),
    ]


def query_rows(peer, own):
    rows = []
    for clients in (1, 8):
        who = f"{clients} client" + "s" * (clients > 1)
        sides = [[p for p in points(report, "query") if p["clients"] == clients] for report in (peer, own)]
        default = [next((p for p in side if p["n_probes"] == p["rerank_mult"] == "auto"), None) for side in sides]
        rows.append(compare(f"queries/s, {who}, default parameters", *default))
        rows.append(latency("  p99 ms", *default))
        rows += [compare(f"queries/s, {who}, recall >= {recall}", *matched(sides, recall)) for recall in RECALLS]
    sides = [[p for p in points(report, "batch") if p["per_request"] == BATCH] for report in (peer, own)]
    rows.append(compare(f"queries/s, {BATCH:,} per request, recall >= 0.95", *matched(sides, 0.95)))
    return rows


def filter_rows(peer, own):
    rows = []
    names = dict.fromkeys(p["filter"] for report in (peer, own) for p in points(report, "filter"))
    for name in names:
        sides = [[p for p in points(report, "filter") if p["filter"] == name] for report in (peer, own)]
        default = [next((p for p in side if p["n_probes"] == p["rerank_mult"] == "auto"), None) for side in sides]
        rows.append(compare(f"queries/s, filter of {name}, default", *default))
        rows.append(compare(f"queries/s, filter of {name}, recall >= 0.95", *matched(sides, 0.95)))
    return rows


def cost_rows(peer, own):
    def last(report, field):
        values = [f[field] for f in report["footprints"] if f[field] is not None]
        return values[-1] if values else None

    def per_vector(report):
        return None if last(report, "disk_bytes") is None else last(report, "disk_bytes") / report["data"]["vectors"]

    def megabytes(report):
        return None if last(report, "resident_bytes") is None else last(report, "resident_bytes") / 1e6

    return [
        cost("single upsert, p50 ms", pick(peer, "upsert", "latency", "p50_ms"), pick(own, "upsert", "latency", "p50_ms")),
        cost("single upsert, p99 ms", pick(peer, "upsert", "latency", "p99_ms"), pick(own, "upsert", "latency", "p99_ms")),
        rate("reads beside a writer, share of alone", pick(peer, "mixed", "read_ratio"), pick(own, "mixed", "read_ratio")),
        rate("  and vectors/s written", pick(peer, "mixed", "writes_per_second"), pick(own, "mixed", "writes_per_second")),
        cost("disk, bytes/vector", per_vector(peer), per_vector(own)),
        cost("memory, MB", megabytes(peer), megabytes(own)),
    ]


def points(report, part):
    return [point for point in report["points"] if point["part"] == part]


def matched(sides, recall):
    """The fastest point of each that reaches `recall`; for the peer, failing that, the one of its best recall."""
    peer, own = (max((p for p in side if p["recall"] >= recall), key=speed, default=None) for side in sides)
    if peer is None and sides[0]:
        peer = max(sides[0], key=lambda point: (point["recall"], speed(point)))
    return peer, own


def speed(point):
    return point["queries_per_second"]


def compare(label, peer, own):
    sides = [f"{number(speed(p))} at {p['recall']:.3f}" if p else "-" for p in (peer, own)]
    return (label, *sides, ratio(speed(own), speed(peer)) if peer and own else "-")


def latency(label, peer, own):
    return cost(label, *(p and p["latency"]["p99_ms"] for p in (peer, own)))


def rate(label, peer, own):
    return (label, number(peer), number(own), ratio(own, peer))


def cost(label, peer, own):
    return (label, number(peer), number(own), ratio(peer, own))


def ratio(better, worse):
    return f"{better / worse:,.1f} x" if better is not None and worse else "-"


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def pick(report, *path):
    for name in path:
        report = (report or {}).get(name)
    return report


if __name__ == "__main__":
    sys.exit(main())
