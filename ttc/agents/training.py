"""Training in chunks: seeds side by side, environments over devices.

learner = agents.over_seeds(agents.ippo(env))
state = learner.init(agents.seed_keys(0, 3))
for state, metrics in agents.train(learner, state, num_updates=500):
  ...  # save `state`, report `metrics`; a run can go on from any of them
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key

from ttc.agents.learner import Learner, LearnerState, Metrics
from ttc.models.sharding import put


def seed_keys(seed: int, num_seeds: int) -> Key[Array, ' S']:
  """A key for each seed, whose number does not change the first ones."""
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return fold(jax.random.key(seed), jax.numpy.arange(num_seeds))


def over_seeds(learner: Learner) -> Learner:
  """The same algorithm with several seeds at once.

  `init` takes keys `[S]`; states and metrics have a leading axis `S`, and so
  have params: `policy` is still that of one seed.
  """
  return learner._replace(
    init=jax.vmap(learner.init),
    update=jax.vmap(learner.update),
  )


def train(
  learner: Learner,
  state: LearnerState,
  num_updates: int,
  every: int = 100,
  mesh: Mesh | None = None,
) -> Iterator[tuple[LearnerState, Metrics]]:
  """Trains up to a number of updates, and tells how it goes on the way.

  Args:
    learner: of one seed, or from `over_seeds`.
    state: to go on from; `state.updates` are done already. It is donated, and
      so is what is yielded: be done with it before asking for the next.
    num_updates: of the whole training.
    every: updates from one report to the next.
    mesh: with an axis `data`, over which environments are spread; None for one
      device. Results are equal up to the rounding of sums.

  Yields:
    The state and the metrics `[every, ...]` of the updates since the last one.

  Example:
    >>> learner = agents.ippo(
    ...   envs.bandit(), agents.PPO(num_envs=2, num_steps=4, num_epochs=1))
    >>> state = jax.jit(learner.init)(jax.random.key(0))
    >>> for state, metrics in agents.train(learner, state, 4, every=2):
    ...   print(int(state.updates), metrics['reward'].shape)
    2 (2,)
    4 (2,)
  """
  place = None
  if mesh is not None:
    place = env_shardings(state, mesh), NamedSharding(mesh, P())
    state = put(state, place[0])

  def run(state, num_updates):
    step = lambda state, _: learner.update(state)
    return jax.lax.scan(step, state, length=num_updates)

  run = jax.jit(
    run,
    static_argnums=1,
    donate_argnums=0,
    out_shardings=place,
  )
  while (done := int(state.updates.max())) < num_updates:
    state, metrics = run(state, min(every, num_updates - done))
    yield state, metrics


def env_shardings(state: LearnerState, mesh: Mesh) -> Any:
  """Environments over the axis `data`, everything else on all devices.

  Args:
    state: of a learner, of one seed or several.
    mesh: with an axis `data`, whose length divides the environments.

  Returns:
    A sharding for each leaf of the state.

  Raises:
    ValueError: if environments do not come out even.
  """
  seeds = state.updates.ndim
  num_envs = state.envs.reset.shape[seeds]
  if num_envs % mesh.shape['data']:
    raise ValueError(
      f'num_envs={num_envs} is not a multiple of {mesh.shape["data"]} devices'
    )
  spread = NamedSharding(mesh, P(*(None,) * seeds, 'data'))
  whole = NamedSharding(mesh, P())
  everywhere = jax.tree.map(lambda _: whole, state)
  return everywhere._replace(envs=jax.tree.map(lambda _: spread, state.envs))
