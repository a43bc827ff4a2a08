"""MiniManip once more, in plain numpy with branches, and episodes to check."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import envs
from ttc.envs.minimanip.benchmarks import task_set
from ttc.envs.minimanip.families import FAMILIES

NAMES = tuple(FAMILIES)
TASKS = task_set(NAMES, seed=0)
LOW, HIGH = np.array([-0.5, 0.4, 0.02]), np.array([0.5, 1.0, 0.5])


@functools.cache
def all_tasks():
  """Params `[families, variations]`."""
  grid = jnp.meshgrid(jnp.arange(len(NAMES)), jnp.arange(50), indexing='ij')
  return jax.jit(jax.vmap(jax.vmap(TASKS.task)))(*grid)


@functools.cache
def _player():
  env = envs.minimanip()

  def episode(params, key, script, noise):
    _, state = env.reset(key, params)

    def step(state, t):
      drawn = jax.random.uniform(
        jax.random.fold_in(key, t), (1, 4), jnp.float32, -1.0, 1.0
      )
      action = script * envs.minimanip_script(state, params) + noise * drawn
      action = jnp.clip(action, -1.0, 1.0)
      out = env.step(key, state, action, params)
      kept = out.reward[0], out.info['success'], out.truncated
      return out.state, (state.scene, action[0], out.obs[0], *kept)

    return jax.lax.scan(step, state, jnp.arange(100))[1]

  axes = (0, 0, None, None)
  return jax.jit(jax.vmap(jax.vmap(episode, axes), axes))


@functools.cache
def episodes(script, noise):
  """Scenes, actions, observations, rewards, success, end: `[F, V, T]`."""
  keys = jax.random.split(jax.random.key(1), (len(NAMES), 50))
  return jax.device_get(_player()(all_tasks(), keys, script, noise))


def at(tree, *index):
  """One of a batch of trees, in double precision."""

  def pick(x):
    x = np.asarray(x)[index]
    return x.astype(np.float64) if x.dtype == np.float32 else x

  return jax.tree.map(pick, tree)


def plain_handle(joint, q):
  if not joint.hinge:
    return joint.base + q * joint.swing
  return joint.base + np.cos(q) * joint.arm + np.sin(q) * joint.swing


def plain_angle(joint, point):
  """Of a point around the pivot, from the arm towards the swing."""
  along = [np.dot(point - joint.base, way) for way in (joint.arm, joint.swing)]
  return np.arctan2(along[1], along[0])


def plain_step(scene, action, params):
  """The rules, one case after the other."""
  hand = np.minimum(np.maximum(scene.hand + 0.01 * action[:3], LOW), HIGH)
  opening = min(max(scene.opening - 0.2 * action[3], 0.0), 1.0)
  shut, position, held = opening < 0.5, scene.object.copy(), False
  if params.has_object:
    distance = np.linalg.norm(scene.object - hand)
    if scene.held and shut:
      held = True
      position = position + hand - scene.hand
    elif not scene.held and shut and scene.opening >= 0.5:
      held = bool(params.graspable and distance <= 0.03)
    if not held:
      if shut:
        position = plain_push(position, hand)
      position[2] -= 0.04
    position = plain_obstacles(position, scene.object, params.surroundings)
    held = held and np.linalg.norm(position - hand) <= 0.06
  if held:
    opening = max(opening, 0.4)
  q = scene.angle
  handle = plain_handle(params.joint, q)
  gap = handle - scene.hand
  if params.joint.present and np.linalg.norm(gap) <= 0.04:
    q = plain_turn(params.joint, q, scene.hand, hand, gap, shut)
  depth = plain_depth(params.button, scene.depth, scene.hand, hand)
  return hand, opening, position, held, q, depth


def plain_push(position, hand):
  height = position[2] - hand[2]
  if abs(height) >= 0.04:
    return position
  reach = np.sqrt(0.04**2 - height**2)
  away = position[:2] - hand[:2]
  distance = np.linalg.norm(away)
  if distance >= reach:
    return position
  away = away / distance if distance > 1e-6 else np.array([0.0, 1.0])
  return np.array([*(hand[:2] + reach * away), position[2]])


def plain_obstacles(position, last, around):
  position = position.copy()
  if np.any(around.normal):  # right or left
    side = around.normal[0]
    beyond = side * (position[0] - around.hole[0])
    across = position[1:] - around.hole[1:]
    width = np.linalg.norm(across)
    if side * (last[0] - around.hole[0]) < -1e-4:
      if width > 0.02:
        position[1:] = around.hole[1:] + 0.02 * across / width
    elif beyond < 0 and width > 0.02:
      position[0] = around.hole[0]
  floor = 0.02
  middle, height = around.platform[:2], around.platform[2]
  if np.linalg.norm(position[:2] - middle) < around.platform_radius:
    if last[2] >= height + 0.02 - 1e-3:
      floor = height + 0.02
  position[:2] = np.clip(position[:2], LOW[:2], HIGH[:2])
  position[2] = max(position[2], floor)
  return position


def plain_turn(joint, q, last_hand, hand, gap, shut):
  if joint.hinge:
    change = plain_angle(joint, hand) - plain_angle(joint, last_hand)
    change = (change + np.pi) % (2 * np.pi) - np.pi
  else:
    change = np.dot(hand - last_hand, joint.swing)
  tangent = (plain_handle(joint, q + 1e-5) - plain_handle(joint, q)) / 1e-5
  if shut or change * np.dot(gap, tangent) > 0:
    q = min(max(q + change, 0.0), joint.limit)
  return q


def plain_depth(button, depth, last_hand, hand):
  deep = np.dot(hand - button.front, button.axis)
  aside = np.linalg.norm(hand - button.front - deep * button.axis)
  came = np.dot(last_hand - button.front, button.axis) <= 0 or depth > 0
  if not button.present or aside > 0.03 or not came:
    return 0.0
  return min(max(deep, 0.0), button.travel)


def plain_reward(after, params):
  """`(success, reward)` of what `plain_step` returns."""
  hand, _, position, held, q, depth = after
  aim = params.aim
  places = [hand, position, plain_handle(params.joint, q)]
  places.append(params.button.front + depth * params.button.axis)
  thing = places[int(np.argmax(aim.thing))]
  to_goal = np.linalg.norm(aim.axes * (thing - aim.goal))
  if to_goal <= aim.threshold and not (aim.released and held):
    return True, 10.0
  tolerance = lambda d, bound, margin: (
    1 / (1 + (3 * max(d - bound, 0.0) / max(margin, 1e-6)) ** 2)
  )
  shares = [
    tolerance(np.linalg.norm(thing - hand), 0.02, aim.margins[0]),
    float(held),
    tolerance(to_goal, aim.threshold, aim.margins[1]),
  ]
  return False, float(np.dot(aim.weights, shares))
