"""Environments that ttc and another library have, and how to play them.

A line of `CASES` is one environment of ours and what its peer calls it. Peers
are jaxmarl (2311.10090), for many agents, and gymnax (Lange, 2022), for one.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from ttc import envs


class Case(NamedTuple):
  """An environment that both have.

  Attributes:
    name: in the table.
    make: our maker; None if it is `envs.<name>`.
    reference: the peer's name.
    peer: whose environment it is compared with.
    options: of the peer's maker.
    scenario: of jaxmarl's SMAX.
    only_legal: whether an illegal action spoils the game, so that actions are
      chosen among the legal ones, inside of what is timed.
  """

  name: str
  reference: str
  peer: Literal['jaxmarl', 'gymnax'] = 'jaxmarl'
  make: Callable[[], envs.Environment] | None = None
  options: Mapping[str, Any] = {}
  scenario: str | None = None
  only_legal: bool = False


def _bernoulli_bandit():
  """A hundred pulls of two arms, as gymnax has it."""
  env = envs.bandit(2, bernoulli=True)
  params = env.default_params._replace(num_pulls=100)
  return dataclasses.replace(env, default_params=params)


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
  Case('cart_pole', 'CartPole-v1', 'gymnax'),
  Case('acrobot', 'Acrobot-v1', 'gymnax'),
  Case('mountain_car', 'MountainCar-v0', 'gymnax'),
  Case('catch', 'Catch-bsuite', 'gymnax'),
  Case('deep_sea', 'DeepSea-bsuite', 'gymnax'),
  Case('bandit', 'BernoulliBandit-misc', 'gymnax', make=_bernoulli_bandit),
  Case('asterix', 'Asterix-MinAtar', 'gymnax'),
  Case('breakout', 'Breakout-MinAtar', 'gymnax'),
  Case('freeway', 'Freeway-MinAtar', 'gymnax'),
  Case('space_invaders', 'SpaceInvaders-MinAtar', 'gymnax'),
)


def ours(case: Case) -> envs.Environment:
  """Our environment."""
  return case.make() if case.make else getattr(envs, case.name)()


def reference(case: Case) -> Any:
  """The environment of the peer."""
  if case.peer == 'gymnax':
    import gymnax

    return gymnax.make(case.reference, **case.options)[0]
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
    ImportError: without their peers, naming the extra.
  """
  known = {case.name: case for case in CASES}
  if unknown := [name for name in names if name not in known]:
    raise ValueError(
      f'bench_envs: {unknown[0]!r} is not known; there are {", ".join(known)}'
    )
  cases = [known[name] for name in names or known]
  for peer in sorted({case.peer for case in cases}):
    if importlib.util.find_spec(peer) is None:
      raise ImportError(
        f"{peer} is not installed: pip install 'ttc-jax[oracle]'"
      )
  return cases


def inputs(
  env: envs.Environment, only_legal: bool, num_envs: int, total_steps: int
) -> tuple[jax.Array, jax.Array]:
  """Keys `[T, N]` and actions, or uniform noise over them, `[T, N, A]`."""
  num_steps = max(1, total_steps // num_envs)
  key, action_key = jax.random.split(jax.random.key(0))
  keys = jax.random.split(key, (num_steps, num_envs))
  shape = (num_steps, num_envs, env.num_agents)
  if only_legal:
    noise = jax.random.uniform(action_key, (*shape, env.num_actions))
    return keys, noise
  counts = jnp.array(env.action_counts)
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


def their_run(case: Case) -> Callable[..., tuple[Any, Any, Any]]:
  """The same of the peer, a function of keys and actions."""
  env = reference(case)
  if case.peer == 'gymnax':
    return functools.partial(_gymnax_run, env)
  return functools.partial(_jaxmarl_run, env, case.only_legal)


def _gymnax_run(env, keys, actions):
  """Its `step` resets by itself."""
  params = env.default_params
  obs, state = jax.vmap(env.reset, (0, None))(keys[0], params)

  def step(carry, inputs):
    state, _, rewards, ends = carry
    keys, action = inputs
    obs, state, reward, terminated, truncated, _ = jax.vmap(
      env.step, (0, 0, 0, None)
    )(keys, state, action[:, 0], params)
    ends = ends + (terminated | truncated)
    return (state, obs, rewards + reward, ends), None

  zeros = jnp.zeros(keys.shape[1])
  start = (state, obs, zeros, zeros.astype(jnp.int32))
  (_, obs, rewards, ends), _ = jax.lax.scan(step, start, (keys, actions))
  return obs, rewards, ends


def _jaxmarl_run(env, only_legal, keys, actions):
  """Its `step` resets by itself."""
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
