"""Trains agents that adapt to tasks: RL^2, MAML, and PPO beside them.

  python scripts/meta_rl.py --config=configs/meta_rl_point_robot.py \\
      --workdir=runs/rl2
  python scripts/meta_rl.py --config=configs/meta_rl_point_robot.py:maml \\
      --config.num_train_tasks=45 --config.num_test_tasks=5 --workdir=runs/maml

A learner, an environment and a distribution of its tasks. Every config in
configs/meta_rl_*.py says what it costs and reaches. Writes metrics.jsonl,
evaluation.jsonl, checkpoints, curves.png, of point robots paths.png, and what
each seed has learned. Run again after a kill, it goes on from the last
checkpoint and ends with the same parameters, bit for bit. With several devices
they share the environments or tasks.
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.meta_rl import meta_rl

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'meta_rl_point_robot.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Trains, or goes on training, and draws what was learned."""
  meta_rl(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('meta_rl', main, resumes=True)
