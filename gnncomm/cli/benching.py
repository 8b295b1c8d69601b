"""What ``gnncomm bench`` does once its options are read."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from gnncomm.bench import (
    CASES,
    KINDS,
    NO_COMM,
    SETTINGS,
    bench_envs,
    bench_gpu,
    bench_layers,
    bench_methods,
    bench_parity,
    bench_peers,
    bench_scaling,
    bench_speed,
    bench_trainers,
    count_flops,
    envs_table,
    gpu_table,
    layers_table,
    matmul_rate,
    methods_table,
    parity_table,
    peers_table,
    read_rows,
    rows_as_data,
    scaling_table,
    trainers_table,
)
from gnncomm.bench.reference import RECORDED
from gnncomm.cli.bench import BenchArgs
from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file
from gnncomm.evaluation.report import percent
from gnncomm.learn import Training
from gnncomm.methods import METHODS, resolve
from gnncomm.run import default_config


def run(args: BenchArgs) -> int:
    """Measure what ``args`` say; the exit code."""
    file = output_file(args.json) if args.json else None
    if args.threads:
        torch.set_num_threads(args.threads)
    console = make_console(file_width=160)
    if args.what == "train" and args.peers:
        result = _trainers(args, console)
    elif args.what == "train":
        console.print(bench_train(args.env, args.repeats))
        return 0
    else:
        others = {"envs": _envs, "layers": _layers, "gpu": _gpu, "parity": _parity, "methods": _methods}
        result = others[args.what](args, console)
    if file is not None:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def _trainers(args: BenchArgs, console: Console) -> dict[str, Any]:
    torch.set_num_threads(1)
    rows = []
    for row in bench_trainers(args.peers_python, args.agents, min(args.repeats, 5), args.comms, args.precisions):
        rows.append(row)
        console.print(f"{row.agents} agents, {row.comm}, {row.precision}: {row.ratio:.1f}x")
    console.print(trainers_table(rows))
    return {"torch": torch.__version__, "trainers": [asdict(row) | {"ratio": row.ratio} for row in rows]}


def _envs(args: BenchArgs, console: Console) -> dict[str, Any]:
    chosen = [case for case in CASES if not args.envs or case.id in args.envs]
    rows = []
    for row in bench_envs(chosen, compile=args.compile, device=args.device):
        rows.append(row)
        console.print(f"{row.id}: {row.eager:,.0f} steps/s")
    console.print(envs_table(rows))
    peers = list(bench_peers()) if args.peers else []
    if args.peers:
        console.print(peers_table(peers))
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": args.device,
        "envs": [asdict(row) for row in rows],
        "peers": [asdict(row) for row in peers],
    }


def _layers(args: BenchArgs, console: Console) -> dict[str, Any]:
    chosen = [setting for setting in SETTINGS if not args.settings or setting.name in args.settings]
    rows = list(bench_layers(chosen, args.repeats))
    for kind in KINDS:
        console.print(layers_table(rows, kind))
    scale = [] if args.settings else list(bench_scaling(max(1, args.repeats // 4)))
    if scale:
        console.print(scaling_table(scale))
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "repeats": args.repeats,
        "matmul_gflops": matmul_rate() / 1e9,
        "layers": [asdict(row) for row in rows],
        "scaling": [asdict(row) for row in scale],
    }


def _gpu(args: BenchArgs, console: Console) -> dict[str, Any]:
    device = "cuda" if args.device == "cpu" and args.small == 1 else args.device
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    rows = []
    for row in bench_gpu(device, args.seconds, args.small):
        rows.append(row)
        console.print(f"{row.what} {row.name} {row.form}: {row.value:,.3f} {row.note}", soft_wrap=True)
    console.print(gpu_table(rows))
    return {"torch": torch.__version__, "device": name, "rows": [asdict(row) for row in rows]}


def _parity(args: BenchArgs, console: Console) -> dict[str, Any]:
    rows = list(bench_parity(args.golden or RECORDED))
    console.print(parity_table(rows))
    return {"torch": torch.__version__, "parity": [asdict(row) for row in rows]}


def _methods(args: BenchArgs, console: Console) -> dict[str, Any]:
    chosen = [resolve(name) for name in args.methods] or [*METHODS.values(), NO_COMM]
    rows = []
    file = Path(args.json) if args.json else None
    told = (chosen, args.env, args.out, args.seeds, args.steps)
    for row in bench_methods(*told, trainings=args.trainings, file=file):
        rows.append(row)
        what = f"{row.method} by {row.learner}, seed {row.seed}"
        console.print(f"{what}: {percent(row.success['mean'])} success, {row.length['mean']:.2f} steps")
    if any(row.training == "common" and row.steps_per_second is None for row in rows):
        speed = bench_speed(chosen, args.env)
        rows = [replace(row, steps_per_second=speed[row.method]) if row.training == "common" else row for row in rows]
    console.print(methods_table(rows, {method.name: method.title for method in chosen}))
    return rows_as_data({row.cell: row for row in [*(read_rows(file) if file else ()), *rows]}.values())


def bench_train(env: str, repeats: int) -> Table:
    """Medians over ``repeats`` updates after two to warm up."""
    training = Training.of(default_config(env, steps=10**9))
    collects, updates = [], []
    flops = 0
    for number in range(repeats + 2):
        start = time.perf_counter()
        rollout = training.collect()
        middle = time.perf_counter()
        if number == 0:
            flops = count_flops(partial(training.learner.update, rollout))
            continue
        training.learner.update(rollout)
        collects.append(middle - start)
        updates.append(time.perf_counter() - middle)
    collect_time, update_time = statistics.median(collects[1:]), statistics.median(updates[1:])
    steps = training.steps_per_update
    rate = matmul_rate()
    table = Table(title=f"training on {env}, {torch.get_num_threads()} threads", show_header=False)
    for name, value in {
        "environment steps per second, training": f"{steps / (collect_time + update_time):,.0f}",
        "environment steps per second, collecting only": f"{steps / collect_time:,.0f}",
        "matrix products of an update": f"{flops / 1e9:.2f} GFLOP",
        "rate of the update": f"{flops / update_time / 1e9:.1f} GFLOP/s",
        "rate of a 1024 x 1024 product": f"{rate / 1e9:.1f} GFLOP/s",
        "share": f"{flops / update_time / rate:.1%}",
    }.items():
        table.add_row(name, value)
    return table
