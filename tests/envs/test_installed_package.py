"""A package of somebody else, really built and installed: its environment is listed, made and trained by name."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

MODULE = """
from gnncomm.envs.relay import Relay


class Whisper(Relay):
    \"\"\"A relay of two agents, from a package that gnncomm has never heard of.\"\"\"

    protocols = {"loud-v0": {"num_symbols": 3}}

    def __init__(self, num_envs=1, device="cpu", observation="flat", *, num_symbols=2):
        super().__init__(num_envs, device, observation, num_agents=2, num_symbols=num_symbols)
        self.config = {"num_symbols": num_symbols}
"""
FILES = {
    "whisper_games.py": MODULE,
    "whisper_games-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: whisper-games\nVersion: 0.1\n",
    "whisper_games-0.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "whisper_games-0.1.dist-info/entry_points.txt": "[gnncomm.envs]\nwhisper = whisper_games:Whisper\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    wheel = folder / "whisper_games-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
        record = "".join(f"{name},,\n" for name in (*FILES, "whisper_games-0.1.dist-info/RECORD"))
        archive.writestr("whisper_games-0.1.dist-info/RECORD", record)
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=120)
    return target


def run(site: Path, folder: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_and_keeps_the_contract(site: Path, tmp_path: Path) -> None:
    program = (
        "from gnncomm import envs\n"
        "from gnncomm.testing import check_env\n"
        "check_env(lambda num_envs: envs.make('whisper/loud-v0', num_envs=num_envs))\n"
        "print([name for name in envs.names() if 'whisper' in name], envs.make('whisper/loud-v0').num_actions)\n"
    )
    assert run(site, tmp_path, "-c", program).strip() == "['whisper', 'whisper/loud-v0'] 3"


def test_it_trains_from_the_command_line(site: Path, tmp_path: Path) -> None:
    command = "import sys; from gnncomm.cli import main; sys.exit(main(sys.argv[1:]))"
    tiny = ["--num-envs", "8", "--rollout", "4", "--steps", "64", "--hidden", "8", "--ppo.minibatches", "2"]
    run(site, tmp_path, "-c", command, "train", "whisper", *tiny, "--episodes", "0", "--out", "runs/whisper")
    assert (tmp_path / "runs/whisper/config.json").exists()
    assert "from a package that gnncomm has never heard of" in " ".join(
        run(site, tmp_path, "-c", command, "list").split()
    )
