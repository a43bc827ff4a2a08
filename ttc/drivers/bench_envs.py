"""Speed of environments beside jaxmarl: of a step, and of compiling.

A line of `CASES` is one environment of ours and what jaxmarl calls it.
"""

import functools
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ttc import envs
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation.tables import markdown_table
from ttc.io import files

OURS, THEIRS = 'ttc', 'jaxmarl'


class Case(NamedTuple):
  """An environment that both have.

  Attributes:
    name: in the table.
    make: our maker; None if it is `envs.<name>`.
    reference: jaxmarl's name.
    options: of jaxmarl's maker.
    scenario: of jaxmarl's SMAX.
    only_legal: whether an illegal action spoils the game, so that actions are
      chosen among the legal ones, inside of what is timed.
  """

  name: str
  reference: str
  make: Callable[[], envs.Environment] | None = None
  options: Mapping[str, Any] = {}
  scenario: str | None = None
  only_legal: bool = False


CASES = (
  Case('simple', 'MPE_simple_v3'),
  Case('simple_spread', 'MPE_simple_spread_v3'),
  Case('simple_tag', 'MPE_simple_tag_v3'),
  Case('simple_adversary', 'MPE_simple_adversary_v3'),
  Case('simple_push', 'MPE_simple_push_v3'),
  Case('simple_reference', 'MPE_simple_reference_v3'),
  Case('simple_speaker_listener', 'MPE_simple_speaker_listener_v4'),
  Case(
    'simple_world_comm',
    'MPE_simple_world_comm_v3',
    options={'action_type': 'Discrete'},
  ),
  Case('simple_crypto', 'MPE_simple_crypto_v3'),
  Case('switch_riddle', 'switch_riddle'),
  Case('coin_game', 'coin_game'),
  *(
    Case(
      f'smax_{scenario}',
      'HeuristicEnemySMAX',
      make=functools.partial(envs.smax, scenario),
      scenario=scenario,
    )
    for scenario in ('3m', '2s3z', '27m_vs_30m')
  ),
  Case('overcooked', 'overcooked'),
  Case('hanabi', 'hanabi', only_legal=True),
  Case('storm', 'storm_2p'),
)


class Bench(NamedTuple):
  """What is timed.

  Attributes:
    names: of cases; all if empty.
    num_envs: sizes of batches.
    total_steps: environment steps of a timed run.
    repetitions: timed runs of each.
    compilations: timed compilations of each.
  """

  names: tuple[str, ...] = ()
  num_envs: tuple[int, ...] = (64, 1024)
  total_steps: int = 2**18
  repetitions: int = 5
  compilations: int = 3


CHECK = Bench(
  ('simple', 'switch_riddle'),
  num_envs=(4,),
  total_steps=64,
  repetitions=2,
  compilations=1,
)


def bench_envs(bench: Bench, out: files.Path | None = None) -> str:
  """Times environments of ours and of jaxmarl in turns, in one process.

  A run is a scan over batches that reset by themselves. Actions and keys are
  drawn before and are the same for both, and so are observations, rewards and
  ends that have to be computed. A compilation is of a new function, with the
  tracing, after all caches were emptied.

  Args:
    bench: what to time.
    out: JSON file for every figure; rewritten after each environment.

  Returns:
    A Markdown table.

  Raises:
    ValueError: for environments that are not known or sizes that mean nothing.
    ImportError: without jaxmarl, naming the extra.
    OSError: if `out` cannot be written, before anything is timed.
  """
  _check_sizes(bench)
  cases = chosen(bench.names)
  results = []

  def write():
    report = {
      'jax': jax.__version__,
      'device': jax.devices()[0].device_kind,
      'results': results,
    }
    if out:
      files.write_atomically(out, files.to_json(report, indent=2) + '\n')

  write()
  for case in cases:
    env = case.make() if case.make else getattr(envs, case.name)()
    theirs = reference(case)
    for num_envs in bench.num_envs:
      makers = {
        OURS: functools.partial(our_run, env, case.only_legal),
        THEIRS: functools.partial(their_run, theirs, case.only_legal),
      }
      inputs = _inputs(env, case.only_legal, num_envs, bench.total_steps)
      figures = _measure(makers, inputs, num_envs, bench)
      results.append({'name': case.name, 'num_envs': num_envs, **figures})
      write()
  return markdown(results)


def reference(case: Case) -> Any:
  """The environment of jaxmarl."""
  import jaxmarl

  options = dict(case.options)
  if case.scenario is not None:
    from jaxmarl.environments.smax import map_name_to_scenario

    options['scenario'] = map_name_to_scenario(case.scenario)
  return jaxmarl.make(case.reference, **options)


def chosen(names: Sequence[str]) -> list[Case]:
  """Cases by name; all if there is none.

  Raises:
    ValueError: for one that is not known.
    ImportError: without jaxmarl, naming the extra.
  """
  known = {case.name: case for case in CASES}
  if unknown := [name for name in names if name not in known]:
    raise ValueError(
      f'bench_envs: {unknown[0]!r} is not known; there are {", ".join(known)}'
    )
  if importlib.util.find_spec('jaxmarl') is None:
    raise ImportError(
      "the reference is not installed: pip install 'ttc-jax[oracle]'"
    )
  return [known[name] for name in names or known]


def _check_sizes(bench):
  sizes = bench._asdict()
  del sizes['names']
  for name, value in sizes.items():
    if min(value if isinstance(value, Sequence) else [value], default=0) < 1:
      raise ValueError(f'bench_envs: {name}={value}, expected at least 1')


def _inputs(env, only_legal, num_envs, total_steps):
  """Keys `[T, N]` and actions, or uniform noise over them, `[T, N, A]`."""
  num_steps = max(1, total_steps // num_envs)
  key, action_key = jax.random.split(jax.random.key(0))
  keys = jax.random.split(key, (num_steps, num_envs))
  shape = (num_steps, num_envs, env.num_agents)
  if only_legal:
    noise = jax.random.uniform(action_key, (*shape, env.num_actions))
    return keys, noise
  counts = jnp.array([space.num_values for space in env.action_spaces])
  return keys, jax.random.randint(action_key, shape, 0, counts, jnp.int32)


def our_run(
  env: envs.Environment, only_legal: bool, keys: jax.Array, actions: jax.Array
) -> tuple[Any, Any, Any]:
  """Our batch: the last observations, sums of rewards, numbers of ends."""
  batch, params = envs.vectorize(env), env.default_params
  obs, state = batch.reset(keys[0], params)

  def step(carry, inputs):
    state, _, rewards, ends = carry
    keys, action = inputs
    if only_legal:
      action = _best(action, batch.avail_actions(state, params))
    out = batch.step(keys, state, action, params)
    done = out.terminated | out.truncated
    return (out.state, out.obs, rewards + out.reward, ends + done), None

  num_envs = keys.shape[1]
  start = (
    state,
    obs,
    jnp.zeros((num_envs, env.num_agents)),
    jnp.zeros(num_envs, jnp.int32),
  )
  (_, obs, rewards, ends), _ = jax.lax.scan(step, start, (keys, actions))
  return obs, rewards, ends


def their_run(
  env: Any, only_legal: bool, keys: jax.Array, actions: jax.Array
) -> tuple[Any, Any, Any]:
  """The same of jaxmarl, whose `step` resets by itself."""
  obs, state = jax.vmap(env.reset)(keys[0])

  def step(carry, inputs):
    state, _, rewards, ends = carry
    keys, action = inputs
    acts = {agent: action[:, i] for i, agent in enumerate(env.agents)}
    if only_legal:
      legal_fn = getattr(env, 'get_legal_moves', env.get_avail_actions)
      legal = jax.vmap(legal_fn)(state)
      acts = {agent: _best(acts[agent], legal[agent]) for agent in acts}
    obs, state, reward, done, _ = jax.vmap(env.step)(keys, state, acts)
    rewards = {agent: rewards[agent] + reward[agent] for agent in acts}
    return (state, obs, rewards, ends + done['__all__']), None

  zeros = jnp.zeros(keys.shape[1])
  rewards = {agent: zeros for agent in env.agents}
  start = (state, obs, rewards, zeros.astype(jnp.int32))
  (_, obs, rewards, ends), _ = jax.lax.scan(step, start, (keys, actions))
  return obs, rewards, ends


def _best(noise, legal):
  """A uniform legal action, by noise from outside."""
  return jnp.argmax(jnp.where(legal, noise, -1.0), axis=-1).astype(jnp.int32)


def _measure(makers, inputs, num_envs, bench):
  """Seconds of compilations, and microseconds of environment steps."""
  compiled, compile_s = {}, {name: [] for name in makers}
  for _ in range(bench.compilations):
    for name, run in makers.items():
      jax.clear_caches()
      start = time.perf_counter()
      compiled[name] = jax.jit(run).lower(*inputs).compile()
      compile_s[name].append(time.perf_counter() - start)
  engines = {
    name: functools.partial(_wait_for, run, inputs)
    for name, run in compiled.items()
  }
  steps = inputs[1].shape[0] * num_envs
  seconds = interleaved(engines, bench.repetitions)
  microseconds = {
    name: [1e6 * value / steps for value in values]
    for name, values in seconds.items()
  }
  return {'compile_s': compile_s, 'step_us': microseconds}


def _wait_for(run, inputs):
  jax.block_until_ready(run(*inputs))


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
  """One line an environment and size of batch."""
  rows = []
  for result in results:
    step, compile_s = result['step_us'], result['compile_s']
    pairs = zip(step[OURS], step[THEIRS], strict=True)
    middle = {name: statistics.median(v) for name, v in compile_s.items()}
    rows.append(
      [
        result['name'],
        str(result['num_envs']),
        spread(step[OURS], '.3f'),
        spread(step[THEIRS], '.3f'),
        f'{statistics.median(a / b for a, b in pairs):.2f}',
        f'{middle[OURS]:.2f}',
        f'{middle[THEIRS]:.2f}',
        f'{middle[OURS] / middle[THEIRS]:.2f}',
      ]
    )
  header = [
    'environment',
    'N',
    'ttc, us a step',
    'jaxmarl, us a step',
    'ratio',
    'ttc, s to compile',
    'jaxmarl',
    'ratio',
  ]
  return '\n'.join(markdown_table(header, rows, num_left=1))
