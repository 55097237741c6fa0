"""What deploy/ says for clusters, as far as that can be seen without one."""

import argparse
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import ray
import yaml

from deepocr.cli.corpus import add_arguments, cluster_of, options_of
from deepocr.settings import PREFIX, Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

FAKES = {
    "scontrol": 'test "$1" = show && printf "n1\\nn2\\nn3\\n"',
    # without its own options: --nodes=1 --ntasks=1 --overlap -w NODE
    "srun": 'echo "$5: ${*:6}" >> "$LOG"; shift 5; exec "$@"',
    "ray": 'test "$1" = start && exec sleep 600; exit 0',
    # ends when all nodes have been started: its end ends them
    "deepocr": 'until [ "$(grep -c "ray start" "$LOG")" = 3 ]; do sleep 0.05; done\n'
    'echo "deepocr with $RAY_ADDRESS"',
}


def parse(command: list[str]) -> argparse.Namespace:
    assert command[:2] == ["deepocr", "corpus"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(command[2:])


def test_kuberay_job() -> None:
    """Its schema was checked by hand against the operator's own definition."""
    job = yaml.safe_load((DEPLOY / "corpus-kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    chosen = parse(shlex.split(spec["entrypoint"]))
    assert options_of(chosen).sources == ("s3://scans/1998",)
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    (workers,) = cluster["workerGroupSpecs"]
    assert cluster_of(chosen).readers == workers["maxReplicas"] == 16
    (worker,) = workers["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    names = {variable["name"] for variable in worker["env"]}
    assert names <= {PREFIX + name.upper() for name in Settings.model_fields}
    mounted = {mount["name"] for mount in worker["volumeMounts"]}
    assert mounted == {volume["name"] for volume in workers["template"]["spec"]["volumes"]}
    assert spec["backoffLimit"] >= 1


def start_slurm(tmp_path: Path) -> "subprocess.Popen[str]":
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in FAKES.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    return subprocess.Popen(
        ["bash", str(DEPLOY / "corpus-slurm.sh"), "/scans", "--out", "/results"],
        env={
            **{"PATH": os.environ["PATH"], "VENV": str(programs.parent)},
            **{"LOG": str(tmp_path / "log"), "SLURM_CPUS_PER_TASK": "24"},
            **{"SLURM_JOB_ID": "40007", "SLURM_JOB_NODELIST": "n[1-3]"},
            **{"SLURM_GPUS_PER_NODE": "a100:4"},
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip


def test_slurm_script_starts_a_cluster_and_ends_with_the_run(tmp_path: Path) -> None:
    job = start_slurm(tmp_path)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 0, said
    assert "deepocr with n1:20007" in said
    lines = (tmp_path / "log").read_text().splitlines()
    # started beside the health check, so either may be logged first
    (head,) = [line for line in lines if line.startswith("n1: env -u RAY_ADDRESS ray start --head")]
    assert "--num-gpus=4" in head
    started = [line for line in lines if "ray start --address=n1:20007" in line]
    assert sorted(line[:2] for line in started) == ["n2", "n3"]
    (command,) = [line for line in lines if "deepocr corpus" in line]
    chosen = parse(shlex.split(command.partition(": ")[2]))
    assert (chosen.readers, chosen.sources, chosen.out) == (12, ["/scans"], "/results")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_slurm_script_is_clean() -> None:
    subprocess.run(["shellcheck", str(DEPLOY / "corpus-slurm.sh")], check=True)


@pytest.mark.parametrize("option", ["--cpus", "--gpus"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "two"])
def test_a_reader_takes_no_odd_number(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["scans", "--out", "out", option, value])
    assert f"argument {option}: {value} " in capsys.readouterr().err
