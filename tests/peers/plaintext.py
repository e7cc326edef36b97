#!/usr/bin/env python3
"""Sealdex beside plaintext libraries in process: same machine, same run, same data, one table with ratios at matched recall.

    cargo build --release -p sealdex-cli
    python3 tests/peers/plaintext.py --make-venv /tmp/plaintext --set hard
    python3 tests/peers/plaintext.py --peer-venv /tmp/plaintext --set fashion --folder /tmp/fashion
    python3 tests/peers/plaintext.py --peer-venv /tmp/plaintext --data base.npy --queries queries.npy --truth gt.npy --metric cosine

The peers have no key, no HTTP and no client beside them, Sealdex has all three: the table says what those cost. FAISS is its best IVF, 4-bit
fast-scan codes refined by its own code, in memory; Qdrant (edge) is HNSW in one segment; LanceDB is there for the time it takes to store and
index. A caller is a thread that asks one query per call. FAISS has as many as there are cores where Sealdex has eight clients.

A recall is reached by the fastest setting that does: breadth (nprobe, ef) is doubled until the recall is there, then what lies between is
halved, as `sealdex bench --target-recall` does, for FAISS with each of some k_factors and numbers of lists. Made-up data are drawn as `sealdex
bench --generate` draws them, with other numbers. They stay in --out for the next run; so do reports (JSON), the whole (plaintext.json) and logs.

One after the other, each peer gets a process of its own, Sealdex an empty data directory and a port of the loopback interface. Other load on
the machine spoils the figures, so what there is of it is printed before each run. --budget bounds the minutes that one run may take: what is
cut off there still counts for what it had measured. --table prints the table of an earlier run's --out again.

Ratios are "how many times better is Sealdex", above 1 in its favour, for rates and costs alike. Where a peer never reaches a recall, its best
recall is what Sealdex is held against.
"""

import argparse
import functools
import importlib.metadata
import itertools
import json
import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from compare import free_port, load_report, matched, number, sealdex_binary, server_command, stop, wait_until_healthy

try:
    import numpy as np
except ImportError:
    np = None  # Only the processes of the peers need it, and they run in the virtual environment.

PEERS = {"faiss": "faiss-cpu", "qdrant": "qdrant-edge-py", "lancedb": "lancedb"}
PACKAGES = ("numpy==2.4.6", "faiss-cpu==1.15.1", "qdrant-edge-py==0.9.0", "lancedb==0.40.0")
SETS = {"hard": ("clustered:150000x384:25", "cosine"), "easy": ("clustered:1000000x128:8", "euclidean")}
NAMES = (*PEERS, "sealdex")
RECALLS = (0.95, 0.99)
K = 10
CORES = os.cpu_count()
# How many ask at once where Sealdex has so many clients.
CALLERS = {"faiss": {1: 1, 8: CORES}, "qdrant": {1: 1, 8: 8}}
K_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
RERANK_MULTS = "auto,2,4,8,16"
EF_MAX = 4000


def main():
    arguments = parse_arguments()
    task = task_of(arguments)
    if arguments.stage:
        return run_stage(arguments.stage, task, arguments)
    task["out"].mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        run_all(arguments.only or NAMES, task, arguments)
    reports = {name: load_report(task["out"] / f"{name}.json") for name in NAMES}
    rows = query_rows(reports) + cost_rows(reports)
    whole = {"set": task["out"].name, "metric": task["metric"], "cores": CORES, "rows": rows, "reports": reports}
    (task["out"] / "plaintext.json").write_text(json.dumps(whole, indent=1))
    print(table(task, reports, rows))
    return 1 if any(report.get("error") for report in reports.values()) else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    binary = os.environ.get("SEALDEX_BIN") or None
    parser.add_argument("--sealdex", type=Path, default=binary, help="the binary (default: $SEALDEX_BIN, or the newest of the usual ones)")
    parser.add_argument("--peer-venv", type=Path, help="virtual environment with the peers")
    parser.add_argument("--make-venv", type=Path, help="the same, made here first unless it is there")
    parser.add_argument("--out", type=Path, default=Path("/tmp/sealdex-plaintext"), help="each set has a folder in it")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="run these, keep the last reports of the others")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of --out")
    parser.add_argument("--budget", type=float, default=60, help="minutes that one run may take")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--set", choices=(*SETS, "fashion"))
    data.add_argument("--generate", metavar="clustered:ROWSxDIMENSION:INTRINSIC")
    data.add_argument("--data", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean", help="of --generate and --data")
    parser.add_argument("--folder", type=Path, help="of --set fashion: base.npy, queries.npy and gt.npy")
    parser.add_argument("--lists", type=int, nargs="+", help="numbers of lists that FAISS is tried with")
    parser.add_argument("--seconds", type=float, default=4, help="that a point of the table lasts at least")
    parser.add_argument("--stage", choices=("prepare", *PEERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.data and not (arguments.queries and arguments.truth) or arguments.set == "fashion" and not arguments.folder:
        parser.error("--data needs --queries and --truth, --set fashion needs --folder")
    return arguments


def task_of(arguments):
    """What is stored and asked, and where everything of this run is kept."""
    shape, metric = SETS.get(arguments.set, (arguments.generate, arguments.metric))
    if arguments.set == "fashion":
        name, metric, files = "fashion", "euclidean", [arguments.folder / f"{file}.npy" for file in ("base", "queries", "gt")]
    elif arguments.data:
        name, files = arguments.data.stem, [arguments.data, arguments.queries, arguments.truth]
    else:
        name = f"{shape}-{metric}".replace(":", "-")
        files = [arguments.out / name / f"{file}.npy" for file in ("base", "queries", "gt")]
    files = dict(zip(("data", "queries", "truth"), (file.resolve() for file in files)))
    return {"shape": shape, "metric": metric, "out": arguments.out.resolve() / name, **files}


def run_all(names, task, arguments):
    python = peer_python(arguments)
    if task["shape"] and not task["truth"].exists():
        run_process("prepare", python, task, arguments)
        if not task["truth"].exists():
            sys.exit("error: there are no data to measure with")
    for name in names:
        (task["out"] / f"{name}.json").unlink(missing_ok=True)
        # The load remembers the run before; the processes that run now do not.
        load, _, _, processes, _ = Path("/proc/loadavg").read_text().split()
        print(f"{name}: load before {load}, running and all processes {processes}", flush=True)
        run_sealdex(task, arguments) if name == "sealdex" else run_process(name, python, task, arguments)


def peer_python(arguments):
    folder = arguments.make_venv or arguments.peer_venv
    if not folder:
        sys.exit("error: name a virtual environment with --peer-venv, or have one made with --make-venv")
    python = folder.absolute() / "bin/python"
    if arguments.make_venv and not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
    return python


def run_process(stage, python, task, arguments):
    """Runs one stage of this script in the peers' environment, on one thread unless the stage asks for more."""
    command = [python, Path(__file__).resolve(), *sys.argv[1:], "--stage", stage]
    with open(task["out"] / f"{stage}.log", "w") as log:
        if run_bounded(command, os.environ | {"OMP_NUM_THREADS": "1"}, log, signal.SIGTERM, arguments.budget):
            print(f"{stage}: ended early, see {log.name}", flush=True)


def run_bounded(command, environment, output, politely, minutes):
    process = subprocess.Popen([str(word) for word in command], env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        print(f"cut off after {minutes:g} minutes", flush=True)
    finally:
        stop(process, politely)
    return process.returncode


def run_sealdex(task, arguments):
    """Starts a server on fresh data, loads it, searches the settings for each recall, stops it."""
    out, data_dir, port = task["out"], task["out"] / "sealdex-data", free_port()
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir()
    command, environment = server_command("sealdex", arguments, data_dir, port)
    with open(out / "sealdex.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until_healthy("sealdex", server, port, log.name)
            options = ["--url", f"http://127.0.0.1:{port}", "--pid", server.pid, "--data-dir", data_dir]
            bench(task, arguments, options, environment | {"SEALDEX_INDEX_KEY": secrets.token_hex(32)})
        finally:
            stop(server, signal.SIGTERM)
    shutil.rmtree(data_dir, ignore_errors=True)


def bench(task, arguments, options, environment):
    """Runs the tool once for each recall, on what the first run has loaded, into one report."""
    command = [sealdex_binary(arguments), "bench", *options, "--metric", task["metric"], "--k", K, "--clients", "1,8", "--timeout", 600]
    command += ["--data", task["data"], "--queries", task["queries"], "--truth", task["truth"]]
    command += ["--rerank-mult", RERANK_MULTS, "--seconds", arguments.seconds, "--max-seconds", max(30, arguments.seconds)]
    report, points = {}, []
    for recall in RECALLS:
        path = task["out"] / f"sealdex-{recall}.json"
        path.unlink(missing_ok=True)
        loading = ["--parts", "query", "--reuse", index_name(options[1])] if report else ["--parts", "ingest,query", "--keep"]
        with open(path.with_suffix(".txt"), "w") as output:
            tool = [*command, *loading, "--target-recall", recall, "--output", path]
            if run_bounded(tool, environment, output, signal.SIGINT, arguments.budget):
                print(f"sealdex: ended early, see {output.name}", flush=True)
        part = load_report(path)
        points += part["points"]
        report = {**part, **report, "points": points, "error": part.get("error")}
        (task["out"] / "sealdex.json").write_text(json.dumps(report, indent=1))
        if report["error"]:
            return


def index_name(url):
    with urllib.request.urlopen(f"{url}/v1/indexes/list", timeout=30) as answer:
        return json.load(answer)["indexes"][0]


def run_stage(stage, task, arguments):
    if stage == "prepare":
        return prepare(task)
    report = Report(task["out"] / f"{stage}.json", importlib.metadata.version(PEERS[stage]))
    {"faiss": run_faiss, "qdrant": run_qdrant, "lancedb": run_lancedb}[stage](Data(task), report, task, arguments)
    report.write(error=None)


class Report:
    """What a peer has shown so far, written each time: a run that is cut short has it all."""

    def __init__(self, path, version):
        self.path, self.fields = path, {"version": version, "load_before": os.getloadavg()[0], "builds": [], "points": []}
        self.write(error="cut short")

    def add(self, kind, **fields):
        self.fields[kind].append(fields)
        self.write(error="cut short")
        print(kind, fields, flush=True)

    def write(self, error):
        self.path.write_text(json.dumps(self.fields | {"error": error}, indent=1))


class Data:
    """Vectors, made of length 1 where the metric is cosine: then the euclidean distance orders them as well."""

    def __init__(self, task):
        self.metric = task["metric"]
        self.base, self.queries = self.read(task["data"]), self.read(task["queries"])
        self.rows, self.width = self.base.shape
        if task["truth"].exists():
            self.farthest = np.sort(self.distances(np.load(task["truth"])), axis=1)[:, K - 1 : K]

    def read(self, path):
        vectors = np.ascontiguousarray(np.load(path), np.float32)
        if self.metric == "cosine":
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return vectors

    def distances(self, ids):
        return np.array([((self.base[near].astype(np.float64) - query) ** 2).sum(1) for near, query in zip(ids, self.queries)])

    def recall(self, answers):
        """Share of the exact K nearest; a row exactly as near as the K-th counts. -1 is no row."""
        ids = np.array([[*answer, *[-1] * (K - len(answer))] for answer in answers])
        return float(((self.distances(ids) <= self.farthest) & (ids >= 0)).mean())


def prepare(task):
    """Makes vectors as cli/src/bench/generate.rs does, and their exact neighbours."""
    import faiss

    rows, width, intrinsic = map(int, re.fullmatch(r"clustered:(\d+)x(\d+):(\d+)", task["shape"]).groups())
    directions, rng = min(intrinsic + intrinsic * max(intrinsic - 7, 0) // 18, width), np.random.default_rng(7)

    def normal(spread, *shape):
        return np.float32(spread) * rng.standard_normal(shape, np.float32)

    centres, embedding = normal(1, -(-rows // 500), directions), normal(width**-0.5, directions, width)

    def draw(count):
        along = centres[rng.integers(len(centres), size=count)] + normal(0.6, count, directions)
        return along @ embedding + normal(0.05 * 0.6 * (directions / width) ** 0.5, count, width)

    np.save(task["data"], np.concatenate([draw(min(100_000, rows - first)) for first in range(0, rows, 100_000)]))
    np.save(task["queries"], draw(1000))
    faiss.omp_set_num_threads(CORES)
    data = Data(task)
    _, near = faiss.knn(data.queries, data.base, min(100, rows))
    nearest_first = np.argsort(data.distances(near), axis=1, kind="stable")
    np.save(task["truth"], np.take_along_axis(near, nearest_first, axis=1))


def run_faiss(data, report, task, arguments):
    import faiss

    usual = 1 << math.ceil(math.log2(data.rows) / 2)
    queries = [data.queries[n : n + 1] for n in range(len(data.queries))]
    for lists in arguments.lists or (usual, 2 * usual):
        name = f"IVF{lists},PQ{data.width // 2}x4fs,RFlat"
        index = faiss.index_factory(data.width, name)
        faiss.omp_set_num_threads(CORES)
        begun = time.perf_counter()
        index.train(data.base)
        index.add(data.base)
        seconds = time.perf_counter() - begun
        faiss.omp_set_num_threads(1)
        codes = len(faiss.serialize_index(index.base_index)) / data.rows
        report.add("builds", index=name, seconds=seconds, bytes_per_vector=codes + 4 * data.width)

        def asker(k_factor, nprobe):
            inner = faiss.SearchParametersIVF(nprobe=nprobe)
            parameters = faiss.IndexRefineSearchParameters(k_factor=k_factor, base_index_params=inner)
            return lambda n: index.search(queries[n], K, params=parameters)[1][0]

        search(data, report, "faiss", name, asker, list, K_FACTORS, range(1, lists + 1), arguments.seconds)


def run_qdrant(data, report, task, arguments):
    import qdrant_edge as qdrant

    folder = fresh(task["out"] / "qdrant-data")
    begun = time.perf_counter()
    shard = qdrant_shard(qdrant, data, folder)
    seconds, info = time.perf_counter() - begun, shard.info()
    facts = {"segments": info.segments_count, "indexed": info.indexed_vectors_count}
    report.add("builds", index="HNSW m=16", seconds=seconds, bytes_per_vector=disk_bytes(folder) / data.rows, **facts)

    def asker(_, ef):
        parameters = qdrant.SearchParams(hnsw_ef=ef)
        queries = [qdrant.Query.Nearest(query.tolist()) for query in data.queries]
        requests = [qdrant.QueryRequest(limit=K, query=query, params=parameters) for query in queries]
        return lambda n: shard.query(requests[n])

    def rows(hits):
        return [hit.id for hit in hits]

    search(data, report, "qdrant", "HNSW m=16", asker, rows, [None], range(K, EF_MAX + 1), arguments.seconds)
    shard.close()
    shutil.rmtree(folder)


def qdrant_shard(qdrant, data, folder):
    """All vectors in one indexed segment, however few they are."""
    distance = qdrant.Distance.Cosine if data.metric == "cosine" else qdrant.Distance.Euclid
    config = qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(size=data.width, distance=distance),
        hnsw_config=qdrant.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=1),
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=1 << 30, indexing_threshold=1),
    )
    shard = qdrant.EdgeShard.create(str(folder), config)
    for first in range(0, data.rows, 1000):
        rows = range(first, min(first + 1000, data.rows))
        shard.update(qdrant.UpdateOperation.upsert_points([qdrant.Point(row, data.base[row].tolist()) for row in rows]))
    while shard.optimize():
        pass
    shard.flush()
    return shard


def run_lancedb(data, report, task, arguments):
    """Storing and indexing only, in as many partitions as it chooses."""
    import lancedb
    import pyarrow
    from lancedb.index import IvfRq

    folder = fresh(task["out"] / "lancedb-data")
    begun = time.perf_counter()
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(data.base.ravel()), data.width)
    stored = lancedb.connect(folder).create_table("vectors", pyarrow.table({"id": np.arange(data.rows), "vector": vectors}))
    stored.create_index("vector", config=IvfRq(distance_type="cosine" if data.metric == "cosine" else "l2"))
    seconds, facts = time.perf_counter() - begun, {"indexed": stored.index_stats("vector_idx").num_indexed_rows}
    report.add("builds", index="IVF_RQ", seconds=seconds, bytes_per_vector=disk_bytes(folder) / data.rows, **facts)
    shutil.rmtree(folder)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def disk_bytes(folder):
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*"))


def search(data, report, peer, index, asker, rows, factors, breadths, seconds):
    """For each recall: the least breadth that reaches it with each factor, unless a smaller factor does with as little."""

    @functools.cache
    def recall(factor, breadth):
        ask = asker(factor, breadth)
        return data.recall([rows(ask(n)) for n in range(len(data.queries))])

    def point(setting, callers):
        factor, breadth = setting
        named = f"k_factor {factor} nprobe {breadth}" if factor else f"ef {breadth}"
        found = timed(data, asker(*setting), rows, callers, seconds)
        report.add("points", index=index, setting=f"{index} {named}", clients=callers, **found)
        return found["queries_per_second"]

    for target in RECALLS:
        settings, narrower = [], breadths
        for factor in factors:
            breadth = narrower and least(narrower, lambda breadth: recall(factor, breadth) >= target)
            if breadth:
                settings, narrower = [*settings, (factor, breadth)], range(breadths.start, breadth)
        fastest = max(settings or [(factors[-1], breadths[-1])], key=lambda setting: point(setting, 1))
        point(fastest, CALLERS[peer][8])


def least(breadths, reaches):
    """The least that reaches a recall, if any does; more breadth must bring no less of it."""
    low, high = breadths.start - 1, breadths.start
    while not reaches(high):
        if high == breadths[-1]:
            return None
        low, high = high, min(2 * high, breadths[-1])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def timed(data, ask, rows, callers, seconds):
    """Asks every query once, and for `seconds` at least. Answers are read when the clock has stopped."""
    count, turns, latencies = len(data.queries), itertools.count(), []
    answers = [None] * count

    def call():
        sent = time.perf_counter()
        while (turn := next(turns)) < count or sent - begun < seconds:
            answer = ask(turn % count)
            answered = time.perf_counter()
            latencies.append(answered - sent)
            if turn < count:
                answers[turn] = answer
            sent = answered

    threads = [threading.Thread(target=call) for _ in range(callers)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate, ranked = len(latencies) / (time.perf_counter() - begun), sorted(latencies)
    latency = {f"p{share}_ms": 1e3 * ranked[len(ranked) * share // 100] for share in (50, 99)}
    return {"recall": data.recall([rows(answer) for answer in answers]), "queries_per_second": rate, "latency": latency}


def query_rows(reports):
    rows = []
    own = [point | {"setting": f"rerank_mult {point['rerank_mult']} n_probes {point['n_probes']}"} for point in reports["sealdex"]["points"]]
    for recall, clients, peer in itertools.product(RECALLS, (1, 8), CALLERS):
        callers = CALLERS[peer][clients]
        sides = [by_callers(reports[peer]["points"], callers), by_callers(own, clients)]
        pair = matched(sides, recall)
        speeds = [point and point["queries_per_second"] for point in pair]
        cells = [f"{number(speed)} at {point['recall']:.3f}" if point else "-" for speed, point in zip(speeds, pair)]
        label = f"queries/s, recall >= {recall}, callers {callers}, clients {clients}: {peer}"
        rows.append([label, *cells, ratio(speeds[1], speeds[0]), " | ".join(point["setting"] for point in pair if point)])
    return rows


def cost_rows(reports):
    own, rows = reports["sealdex"], []
    ingest, disk = own.get("ingest") or {}, [footprint["disk_bytes"] for footprint in own["footprints"]]
    seconds = ingest["upload_seconds"] + ingest["train_seconds"] if "train_seconds" in ingest else None
    bytes_per_vector = disk[-1] / own["data"]["vectors"] if disk else None
    for label, field, figure in (("stored and indexed, s", "seconds", seconds), ("bytes/vector", "bytes_per_vector", bytes_per_vector)):
        for peer in PEERS:
            build = build_of(reports[peer])
            cost = build.get(field)
            rows.append([f"{label}: {peer}", number(cost), number(figure), ratio(cost, figure), build.get("index", "")])
    return rows


def build_of(report):
    """Of the index that is the fastest at the first recall, if it was asked."""
    fastest, _ = matched([by_callers(report["points"], 1), []], RECALLS[0])
    builds = report.get("builds") or [{}]
    return next((build for build in builds if fastest and build["index"] == fastest["index"]), builds[0])


def by_callers(points, count):
    return [point for point in points if point["clients"] == count]


def table(task, reports, rows):
    rows = [["", "peer", "sealdex", "better by", "settings of both"], *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:4], widths[1:]), row[4]]).rstrip() for row in rows]
    data = reports["sealdex"]["data"]
    if data:
        shape = f"{data['vectors']:,} x {data['dimension']}, intrinsic dimension {data['intrinsic_dimension'] or math.nan:.1f}"
        lines.insert(0, f"{task['out'].name}: {shape}, {task['metric']}, {CORES} cores")
    lines += [f"{name} ended early: {report['error']}" for name, report in reports.items() if report.get("error")]
    return "\n".join(lines)


def ratio(better, worse):
    return f"{better / worse:,.2f} x" if better is not None and worse else "-"


if __name__ == "__main__":
    sys.exit(main())
