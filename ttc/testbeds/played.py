"""Games that agents are trained on, and what policies get in them."""

from typing import Any

import jax
import numpy as np

from ttc import agents, envs
from ttc.agents import Learner, Policy
from ttc.types import Params


def trained(learner: Learner, seed: int, num_updates: int) -> Params:
  """Params of a policy after so many updates; the key is the seed's."""
  start = jax.jit(learner.init)(agents.seed_keys(seed, 1)[0])
  *_, (state, _) = agents.train(learner, start, num_updates, num_updates)
  return jax.device_get(learner.params(state))


def played(
  env: envs.Environment,
  policy: Policy,
  params: Any,
  seed: int,
  num_episodes: int,
  max_steps: int,
  *,
  greedy: bool = False,
) -> dict[str, np.ndarray]:
  """Whole episodes; those of two policies begin in the same states.

  Returns:
    `return [E]`, mean over agents, `length [E]`, and what `info` said at the
    end of each episode.
  """

  @jax.jit
  def run(params):
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return agents.evaluate(
      env, policy, params, key, num_episodes, max_steps, greedy=greedy
    )

  play = jax.device_get(run(params))
  return {
    'return': play.returns.mean(axis=1),
    'length': play.lengths,
    **play.info,
  }
