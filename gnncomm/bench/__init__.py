"""Measuring: layers against stock convolutions, and against what the machine can do."""

from gnncomm.bench.compare import KINDS, LayerRow, compare
from gnncomm.bench.envs import CASES, EnvCase, EnvRow, bench_envs, envs_table
from gnncomm.bench.gpu import GpuRow, bench_gpu, gpu_table
from gnncomm.bench.layers import SETTINGS, Setting, bench_layers, layers_table
from gnncomm.bench.measure import count_flops, interleaved, matmul_rate, peak_memory
from gnncomm.bench.methods import NO_COMM, MethodRow, bench_methods, bench_speed, methods_table, read_rows, rows_as_data
from gnncomm.bench.parity import ParityRow, bench_parity, parity, parity_table
from gnncomm.bench.peers import PeerRow, bench_peers, peers_table
from gnncomm.bench.scaling import ScaleRow, bench_scaling, scaling_table
from gnncomm.bench.trainers import TrainerRow, bench_trainers, trainers_table

__all__ = [
    "CASES",
    "KINDS",
    "NO_COMM",
    "SETTINGS",
    "EnvCase",
    "EnvRow",
    "GpuRow",
    "LayerRow",
    "MethodRow",
    "ParityRow",
    "PeerRow",
    "ScaleRow",
    "Setting",
    "TrainerRow",
    "bench_envs",
    "bench_gpu",
    "bench_layers",
    "bench_methods",
    "bench_parity",
    "bench_peers",
    "bench_scaling",
    "bench_speed",
    "bench_trainers",
    "compare",
    "count_flops",
    "envs_table",
    "gpu_table",
    "interleaved",
    "layers_table",
    "matmul_rate",
    "methods_table",
    "parity",
    "parity_table",
    "peak_memory",
    "peers_table",
    "read_rows",
    "rows_as_data",
    "scaling_table",
    "trainers_table",
]
