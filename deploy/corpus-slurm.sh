#!/bin/bash
# A corpus on Slurm: sbatch deploy/corpus-slurm.sh SOURCE... --out DEST [options of deepocr corpus]
# deepocr[deepseek,corpus] has to be installed where VENV says, and SOURCE, DEST and the weights
# (DEEPOCR_CHECKPOINTS) lie where every node sees them. A job that was preempted or ran out of time
# is queued again and goes on where it was.
#SBATCH --job-name=deepocr-corpus
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=24
#SBATCH --mem=120G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
set -euo pipefail

VENV=${VENV:-$HOME/deepocr/.venv}
# shellcheck disable=SC1091
source "$VENV/bin/activate"
export DEEPOCR_ENGINE=${DEEPOCR_ENGINE:-deepseek}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_node=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))  # jobs of others may share the node
export RAY_ADDRESS=$head_node:$port
gpus=${SLURM_GPUS_PER_NODE:-0}
gpus=${gpus##*:}                        # a100:4

# their processes end with the job, also when the driver fails
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
requeue() { scontrol requeue "$SLURM_JOB_ID"; exit 143; }
trap requeue TERM

on=(srun --nodes=1 --ntasks=1 --overlap -w)
share=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --disable-usage-stats --block)

"${on[@]}" "$head_node" env -u RAY_ADDRESS \
  ray start --head --node-ip-address="$head_node" --port="$port" "${share[@]}" &
until "${on[@]}" "$head_node" ray health-check --address "$RAY_ADDRESS"; do sleep 2; done
for node in "${nodes[@]:1}"; do
  "${on[@]}" "$node" ray start --address="$RAY_ADDRESS" "${share[@]}" &
done

# in the background, so that bash hears the signal
"${on[@]}" "$head_node" deepocr corpus --readers "$((${#nodes[@]} * (gpus > 0 ? gpus : 1)))" "$@" &
wait $!
