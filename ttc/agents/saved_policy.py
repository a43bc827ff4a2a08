"""Trained policies as files of arrays, to play by them anywhere.

agents.save_policy(path, 'actor', architecture, params)
policy, params = agents.load_policy(path, env)
states = agents.trajectory(env, policy, params, key, max_steps=100)
"""

import json
import os
from typing import Literal, TypeAlias

import jax
import numpy as np

from ttc import envs
from ttc.agents import actors, networks, q_behaviour
from ttc.agents.learner import Policy
from ttc.agents.networks import Architecture
from ttc.io.arrays import read_arrays, write_arrays
from ttc.types import Params

Kind: TypeAlias = Literal['actor', 'values']  # what outputs mean


def save_policy(
  path: str | os.PathLike[str],
  kind: Kind,
  architecture: Architecture,
  params: Params,
) -> None:
  """Writes a policy, atomically, as `.npz`.

  Args:
    path: of the file; its directory is made if missing.
    kind: 'actor' if outputs are logits, 'values' if they are of actions.
    architecture: of the network.
    params: of the network, nested dictionaries.
  """
  about = json.dumps({'kind': kind, 'architecture': architecture._asdict()})
  write_arrays(path, {'about': np.array(about), 'params': params})


def load_policy(
  path: str | os.PathLike[str], env: envs.Environment
) -> tuple[Policy, Params]:
  """Reads a policy for an environment of the shapes that it was trained on.

  Args:
    path: of a file from `save_policy`.
    env: says how many agents, observations and actions there are.

  Returns:
    The policy and its params.

  Raises:
    ValueError: if it is no such file, or if the environment does not fit.
  """
  saved = read_arrays(path)
  try:
    params, about = saved['params'], json.loads(str(saved['about']))
    architecture = Architecture(**about['architecture'])
    actor = {'actor': True, 'values': False}[about['kind']]
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f'{path}: not a saved policy: {error}') from None
  num_outputs = actors.num_logits(env) if actor else env.num_actions
  net = networks.for_agents(
    architecture, num_outputs, env.num_agents, env.observation_shape
  )
  shapes = lambda tree: jax.tree.map(lambda x: x.shape, tree)
  expected = shapes(jax.eval_shape(net.init, jax.random.key(0)))
  if (found := shapes(params)) != expected:
    raise ValueError(
      f'{path}: params have the shapes {found}; {env.name} with '
      f'{architecture} needs {expected}'
    )
  policy = (
    actors.actor_policy(env, net) if actor else q_behaviour.q_policy(net, 0.0)
  )
  return policy, params
