#!/bin/bash
@OPTIONS@

folders=(
@FOLDERS@
)
commands=( # as a user would type them
@COMMANDS@
)
@SETUP@
number=${SLURM_ARRAY_TASK_ID:-0}
export ATROUS_COMMAND="${commands[$number]}"

# since 22.05 srun takes no cores per task from sbatch; and a job whose one process has died is not to wait for it
srun --unbuffered --open-mode=append --output=@LOG@ --cpus-per-task=@CORES@ --kill-on-bad-exit=1 \
  @PYTHON@ -u -m atrous.worker "${folders[$number]}"
status=$?
# not SLURM_JOB_ID alone: of an array's last job it is the number of the whole array, which would be queued again
job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
# 140: @SIGNAL@ came, ahead of the time limit or a preemption; 143: TERM, a preemption's where a time is given
# `scancel` by a user ends this script itself
preempted() { scontrol show job "$job" | grep -q "PreemptTime=[0-9]"; }
if [ $status -eq 140 ] || { [ $status -eq 143 ] && preempted; }; then
  [ "${SLURM_RESTART_COUNT:-0}" -lt @MAX_REQUEUES@ ] && scontrol requeue "$job"
fi
exit $status
