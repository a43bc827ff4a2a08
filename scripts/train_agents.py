"""Trains agents in one of our environments, several seeds side by side.

  python scripts/train_agents.py --config=configs/agents_simple_spread.py \\
      --workdir=runs/spread
  python scripts/train_agents.py --config=configs/agents_smax_3m.py \\
      --config.total_steps=100000 --workdir=runs/3m

Every config in configs/agents_*.py says what it costs and reaches. Writes
metrics.jsonl, evaluation.jsonl, checkpoints, curves.png, episode.gif and
episode.png, and a policy of each seed for `agents.load_policy`. Run again after
a kill, it goes on from the last checkpoint and ends with the same parameters,
bit for bit. SIGTERM makes a checkpoint first and gives status 75. Several
devices, with --distributed those of all processes, share the environments.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.train_agents import train_agents

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'agents_simple_spread.py')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
processes.define_flags()


def main():
  """Trains, or goes on training, and draws what was learned."""
  with processes.together():
    train_agents(_CONFIG.value.to_dict(), _WORKDIR.value)


if __name__ == '__main__':
  command.run('train_agents', main, resumes=True)
