"""Speed of training: the same learner on our environments and on peers'."""

import time
from collections.abc import Callable, Sequence

import jax

from ttc import agents, envs
from ttc.drivers import env_peers
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation.tables import markdown_table

HYPER = agents.PPO(num_envs=64, num_steps=64)


def bench_training(names: Sequence[str], repetitions: int = 5) -> str:
  """Times updates of IPPO, environment and learning, in turns.

  Args:
    names: of `env_peers.CASES`; all of jaxmarl's if empty.
    repetitions: timed updates of each.

  Returns:
    A Markdown table of thousands of environment steps a second.

  Raises:
    ValueError: for environments that are not known.
    ImportError: without jaxmarl, naming the extra.
  """
  rows = []
  known = [case.name for case in env_peers.CASES if case.peer == 'jaxmarl']
  for case in env_peers.chosen(names or known):
    ours, theirs = env_peers.ours(case), env_peers.reference(case)
    if case.peer == 'gymnax':
      theirs = envs.from_gymnax(theirs)
    else:
      theirs = envs.from_jaxmarl(theirs)
    updates, compile_s = {}, {}
    for name, env in {'ttc': ours, 'peer': theirs}.items():
      start = time.perf_counter()
      updates[name] = _updates(env)
      compile_s[name] = time.perf_counter() - start
    seconds = interleaved(updates, repetitions)
    steps = HYPER.num_envs * HYPER.num_steps
    rate = {k: [steps / s / 1e3 for s in v] for k, v in seconds.items()}
    ratio = [a / b for a, b in zip(*rate.values(), strict=True)]
    rows.append(
      [
        case.name,
        *(spread(values, '.1f') for values in rate.values()),
        spread(ratio, '.2f'),
        *(f'{s:.1f}' for s in compile_s.values()),
      ]
    )
  return '\n'.join(
    markdown_table(
      [
        'IPPO on',
        'ttc, 1000 steps/s',
        'peer, 1000 steps/s',
        'ratio',
        'ttc, s to the first update',
        'peer',
      ],
      rows,
      num_left=1,
    )
  )


def _updates(env: envs.Environment) -> Callable[[], None]:
  """A function that does the next update, after the first one."""
  learner = agents.ippo(env, HYPER)
  update = jax.jit(learner.update, donate_argnums=0)
  kept = [jax.jit(learner.init)(jax.random.key(0))]

  def run():
    kept[0] = jax.block_until_ready(update(kept[0])[0])

  run()
  return run
