"""Runs a published benchmark, or scores what another engine wrote.

  python scripts/benchmark.py --list
  python scripts/benchmark.py --benchmark=timeqa --data=dev.jsonl \\
      --workdir=runs/timeqa --config.num_items=100
  python scripts/benchmark.py --benchmark=timeqa --data=dev.jsonl \\
      --predictions=samples_timeqa.jsonl --workdir=runs/other \\
      --compare=runs/timeqa
  python scripts/benchmark.py --benchmark=my_benchmark.py --data=my.jsonl \\
      --workdir=runs/mine

A benchmark is a name of the list, or a file of your own with one function;
ttc/benchmarks/timeqa.py shows how. Predictions are records of ours
{item_id, completion}, or sample logs of lm-evaluation-harness or inspect_ai.
Writes run.json, samples.jsonl, scores.jsonl, report.md, figures.json and
figures.png. Killed, the same command goes on where it was. With --distributed
each process samples its share of the items.
"""

import pathlib

from absl import flags

from ttc.drivers import command, processes
from ttc.drivers.benchmark import benchmark, list_benchmarks

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = command.define_config(_ROOT / 'configs' / 'benchmark.py')
_BENCHMARK = flags.DEFINE_string(
  'benchmark', None, 'A name of --list, or the path of a file .py.'
)
_DATA = flags.DEFINE_string(
  'data', None, 'File of the published records: JSONL, JSON or CSV.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for all output.')
_PREDICTIONS = flags.DEFINE_string(
  'predictions', None, 'File of completions; without it samples are drawn.'
)
_COMPARE = flags.DEFINE_string(
  'compare', None, 'Workdir of another run of the same benchmark.'
)
_OFFICIAL = flags.DEFINE_bool(
  'official', False, 'Score with the quirks of the released scorer.'
)
_WRITE_LOGS = flags.DEFINE_bool(
  'write_logs', False, 'Write logs of lm-evaluation-harness and inspect_ai.'
)
_LIST = flags.DEFINE_bool('list', False, 'Print the benchmarks there are.')
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
  'allow_config_change', False, 'Resume although the configuration differs.'
)
processes.define_flags()


def main():
  """Samples, grades, reports and compares."""
  if _LIST.value:
    print(list_benchmarks())
    return
  with processes.together():
    benchmark(
      _CONFIG.value.to_dict(),
      *map(_required, (_BENCHMARK, _DATA, _WORKDIR)),
      predictions=_PREDICTIONS.value,
      official=_OFFICIAL.value,
      compare=_COMPARE.value,
      write_logs=_WRITE_LOGS.value,
      allow_config_change=_ALLOW_CONFIG_CHANGE.value,
    )


def _required(flag: flags.FlagHolder) -> str:
  """The value of a flag that only --list can do without."""
  if not flag.value:
    raise ValueError(f'--{flag.name} is missing; see --help')
  return flag.value


if __name__ == '__main__':
  command.run('benchmark', main, resumes=True)
