"""Steps of an environment of ours beside gymnax's, from the same states."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ttc import envs


class Theirs(NamedTuple):
  """What a step of gymnax leads to; nothing is reset."""

  obs: Any
  state: Any
  reward: Any
  terminated: Any
  truncated: Any


def side_by_side(
  env, reference, to_theirs, num_steps=1000, our_params=None, their_params=None
):
  """Random play of ours; each state is handed to gymnax with the same act.

  Args:
    env: ours.
    reference: gymnax's.
    to_theirs: `(our state, step key) -> their state`.
    num_steps: in all episodes together.
    our_params: of ours; default ones if None.
    their_params: of gymnax's.

  Returns:
    Actions `[T]`, our steps and theirs, on the host.
  """
  params = our_params or env.default_params
  theirs = their_params or reference.default_params

  def body(state, key):
    action_key, step_key, reset_key = jax.random.split(key, 3)
    action = envs.random_actions(env, action_key, state, params)
    ours = env.step(step_key, state, action, params)
    obs, after, reward, terminated, _ = reference.step_env(
      step_key, to_theirs(state, step_key), action[0], theirs
    )
    truncated = reference.is_truncated(after, theirs)
    done = ours.terminated | ours.truncated
    _, fresh = env.reset(reset_key, params)
    following = jax.tree.map(
      lambda a, b: jnp.where(done, a, b), fresh, ours.state
    )
    there = Theirs(obs, after, reward, terminated, truncated)
    return following, (action[0], ours, there)

  def run(key):
    _, state = env.reset(key, params)
    keys = jax.random.split(jax.random.fold_in(key, 1), num_steps)
    return jax.lax.scan(body, state, keys)[1]

  return jax.device_get(jax.jit(run)(jax.random.key(0)))
