r"""Time to a target of optimisers, by the protocol of AlgoPerf (2306.07179).

  python scripts/bench_time_to_target.py --workdir=runs/time_to_target
  python scripts/bench_time_to_target.py --target_trials=20 --noheld_out \\
      --workloads=student,adding --workdir=runs/some
  python scripts/bench_time_to_target.py --check --workdir=/tmp/check

Six small workloads and a variant of each; AdamW, NadamW, Nesterov, heavy ball,
Schedule-Free, Muon, and an optimiser that is learned by evolution on other
trainings. Targets are set by the protocol: the median of 20 reruns of the best
of 200 trials of each of the first four, in three quarters of the steps. A time
is the median over 3 studies of the fastest of 5 trials; missed targets take
infinite time, and a workload counts only if its variant is solved too.
Compiling counts, evaluating does not; the same by steps, which do not depend on
the machine. Prints and writes scores.md, draws profiles.png; run again after a
kill, it goes on. With the defaults about two hours on two CPU cores, most of it
for targets; with --target_trials=20 a quarter of an hour.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.time_to_target import TimeToTargetOptions, time_to_target

_DEFAULT = TimeToTargetOptions()
_WORKLOADS = flags.DEFINE_list('workloads', [], 'Names; all if not given.')
_SUBMISSIONS = flags.DEFINE_list('submissions', [], 'Names; all if not given.')
_STUDIES = flags.DEFINE_integer('num_studies', _DEFAULT.num_studies, 'Each.')
_TRIALS = flags.DEFINE_integer('num_trials', _DEFAULT.num_trials, 'Of a study.')
_TARGET_TRIALS = flags.DEFINE_integer(
  'target_trials', _DEFAULT.target_trials, 'Of each that sets targets.'
)
_TARGET_RERUNS = flags.DEFINE_integer(
  'target_reruns', _DEFAULT.target_reruns, 'Of the best trial.'
)
_HELD_OUT = flags.DEFINE_bool(
  'held_out', _DEFAULT.held_out, 'Ask for the variants too.'
)
_GENERATIONS = flags.DEFINE_integer(
  'generations', _DEFAULT.generations, 'Of evolution, for the learned one.'
)
_SEED = flags.DEFINE_integer('seed', _DEFAULT.seed, 'Of everything.')
_CHECK = flags.DEFINE_bool('check', False, 'Tiny sizes: does it still run?')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)


def main():
  """Measures, scores, draws."""
  chosen = TimeToTargetOptions(
    tuple(_WORKLOADS.value),
    tuple(_SUBMISSIONS.value),
    _STUDIES.value,
    _TRIALS.value,
    _TARGET_TRIALS.value,
    _TARGET_RERUNS.value,
    _HELD_OUT.value,
    _GENERATIONS.value,
    _SEED.value,
  )
  if _CHECK.value:
    chosen = TimeToTargetOptions(
      ('student',), ('adamw', 'learned'), 1, 2, 2, 2, False, 1, _SEED.value
    )
  print(time_to_target(chosen, _WORKDIR.value))


if __name__ == '__main__':
  command.run('bench_time_to_target', main, resumes=True, cache=False)
