"""What was once seen of Meta-World 3.1, and the actions that led to it.

`metaworld_recorded.npz` has observations `[21, 39]` of each family: of the
first variation of ML1 with seed 0, before and after each of the actions
`actions_of(0, 20)`.
"""

import pathlib

import numpy as np

FAMILIES = ('reach-v3', 'door-open-v3', 'button-press-topdown-v3')
RECORDED = pathlib.Path(__file__).with_name('metaworld_recorded.npz')


def actions_of(seed, num_steps):
  """Random, but on the whole away from the robot, down and shut."""
  rng = np.random.default_rng(seed)
  lean = np.array([0.0, 0.3, -0.3, 0.2])
  actions = rng.uniform(-1, 1, (num_steps, 4)) + lean
  return np.clip(actions, -1, 1).astype(np.float32)


def real_steps(real, actions):
  """Observations of an object of Meta-World, rewards and success, float32."""
  obs = [real.reset()[0]]
  reward, success = [], []
  for action in actions:
    seen, paid, _, _, info = real.step(action)
    obs.append(seen)
    reward.append(paid)
    success.append(info['success'])
  return tuple(np.array(x, np.float32) for x in (obs, reward, success))
