#!/usr/bin/env bash
# Writes the runs of tests/old_runs: run it in a clone at commit e8df798, whose environment is on the PATH.
#   bash write.sh CLONE; the runs are left in /old/runs, what the half-finished one came to in /old/expected
set -euo pipefail
cd "$1"
export XDG_CACHE_HOME=/old/cache OMP_NUM_THREADS=1
rm -rf /old && mkdir -p /old
T=(trainer=cpu model=unet model.padded=true model.batch_norm=true 'model.encoder.channels=[2,4]' 'model.decoder_channels=[2]'
  model.encoder.dropout=0 'data.size=[32,32]' 'data.train_transform.crop_size=[32,32]' 'data.scale_range=[4,16]' data.context_distance=8
  data.train.length=16 data.val.length=6 data.batch_size=4 data.num_workers=0 optimizer.lr=0.05)
train() { python train.py "${T[@]}" "$@"; }
train paths.runs=/old/runs/plain trainer.max_epochs=2
train paths.runs=/old/runs/ema_frozen trainer.max_epochs=2 callbacks=ema callbacks.ema.decay=0.9 callbacks.freeze.encoder=all callbacks.freeze.batch_norm=encoder extra_metrics=true
train paths.runs=/old/runs/slide trainer.max_epochs=2 inference=slide 'inference.window=[24,24]'
train paths.runs=/old/runs/crf trainer.max_epochs=2 inference=crf inference.crf.iterations=2
python train.py -m "${T[@]}" paths.runs=/old/runs study=rates trainer.max_epochs=2 optimizer.lr=0.02,0.05
python train.py -m "${T[@]}" paths.runs=/old/runs study=search hydra/sweeper=search hydra.sweeper.trials=2 trainer.max_epochs=2 'optimizer.lr=tag(log,interval(1e-3,1e-1))'
# killed in its tenth epoch of thirty and gone on with by the same code; what was there as it was killed is kept
H=(paths.runs=/old/runs/half trainer.max_epochs=30 trainer.log_every_n_steps=1 callbacks.last.every_minutes=0.0001 seed=3)
train "${H[@]}" > /old/half.log 2>&1 &
victim=$!
while ! grep -q 'epoch 9/30' /old/half.log; do sleep 0.02; done
kill -9 $victim; wait $victim || true
cp -r /old/runs/half /old/half_as_killed
train "${H[@]}" resume=auto
mv /old/runs/half /old/expected
mv /old/half_as_killed /old/runs/half
# what no test needs, to keep the repository small
find /old -name samples -type d -prune -exec rm -r {} +
find /old -name '*.png' -delete
rm -f /old/runs/{plain,slide,crf,ema_frozen}/*/*/checkpoints/last.ckpt /old/runs/{rates,search}/*/checkpoints/last.ckpt
rm -rf /old/cache /old/half.log
find /old -name .lock -delete
