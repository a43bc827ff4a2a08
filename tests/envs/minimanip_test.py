"""MiniManip against plain numpy, its symmetry, and hand-checked moments."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from minimanip_world import (
  NAMES,
  all_tasks,
  at,
  episodes,
  plain_reward,
  plain_step,
)

from ttc import envs
from ttc.envs.minimanip.dynamics import advance
from ttc.envs.minimanip.game import show
from ttc.envs.minimanip.world import Scene, start_scene

ADVANCE = jax.jit(advance)
FLIP = np.array([-1.0, 1.0, 1.0], np.float32)


def task(family, variation=0):
  return at(all_tasks(), NAMES.index(family), variation)


def scene_of(params, **changes):
  scene = start_scene(params)._replace(
    **{name: np.asarray(x) for name, x in changes.items()}
  )
  return jax.tree.map(_as_32_bits, scene)


def _as_32_bits(x):
  x = np.asarray(x)
  return x.astype(np.float32) if x.dtype.kind == 'f' else x


def moved(params, scene, *actions):
  """The scene after some actions."""
  params = jax.tree.map(_as_32_bits, params)
  for action in actions:
    scene = ADVANCE(scene, np.array(action, np.float32), params)
  return jax.device_get(scene)


class DynamicsTest(parameterized.TestCase):
  @parameterized.parameters((1.0, 0.7), (0.0, 1.0))
  def test_steps_are_those_of_plain_numpy(self, script, noise):
    scenes, actions, _, rewards, success, _ = episodes(script, noise)
    contacts = dict.fromkeys(('held', 'pushed', 'turned', 'pressed'), 0)
    for family in range(len(NAMES)):
      params = at(all_tasks(), family, 3)
      for t in range(99):
        scene = at(scenes, family, 3, t)
        after = plain_step(scene, actions[family, 3, t], params)
        ours = at(scenes, family, 3, t + 1)
        message = f'{NAMES[family]} {t}'
        for name, mine in zip(Scene._fields, after, strict=True):
          np.testing.assert_allclose(
            getattr(ours, name), mine, atol=2e-6, err_msg=f'{message} {name}'
          )
        succeeds, reward = plain_reward(after, params)
        self.assertEqual(succeeds, success[family, 3, t] > 0, message)
        np.testing.assert_allclose(
          rewards[family, 3, t], reward, atol=2e-4, err_msg=message
        )
        contacts['held'] += bool(after[3])
        moves = np.any(after[2][:2] != scene.object[:2])
        contacts['pushed'] += bool(moves and not after[3])
        contacts['turned'] += bool(after[4] != scene.angle)
        contacts['pressed'] += bool(after[5] > 0)
    if script:
      self.assertGreater(min(contacts.values()), 20, contacts)

  def test_a_hand_moves_a_centimetre_and_stays_in_the_box(self):
    params = task('reach')
    scene = moved(params, scene_of(params), (1.0, -0.5, 0.25, 0.0))
    np.testing.assert_allclose(scene.hand, [0.01, 0.595, 0.2025], atol=1e-7)
    scene = moved(params, scene, (5.0, 0.0, -9.0, 0.0))  # clipped
    np.testing.assert_allclose(scene.hand, [0.02, 0.595, 0.1925], atol=1e-7)
    scene = scene_of(params, hand=[0.495, 0.4, 0.02])
    scene = moved(params, scene, (1.0, -1.0, -1.0, 0.0))
    np.testing.assert_allclose(scene.hand, [0.5, 0.4, 0.02], atol=1e-7)

  def test_only_a_gripper_that_closes_near_grasps(self):
    params = task('pick_place')
    place = params.object_start
    close = [(0.0, 0.0, 0.0, 1.0)] * 3
    for aside, holds in ((0.0, True), (0.029, True), (0.031, False)):
      start = scene_of(params, hand=place + np.array([aside, 0.0, 0.0]))
      scene = moved(params, start, *close[:2])
      self.assertFalse(scene.held)  # not shut yet
      self.assertEqual(bool(moved(params, scene, close[2]).held), holds)
    # One that is shut already only pushes.
    shut = scene_of(params, hand=place - [0.039, 0.0, 0.0], opening=0.0)
    after = moved(params, shut, (1.0, 0.0, 0.0, 1.0))
    self.assertFalse(after.held)
    np.testing.assert_allclose(
      after.object - after.hand, [0.04, 0, 0], atol=1e-6
    )
    # A wide object is never held.
    wide = task('sweep')
    start = scene_of(wide, hand=wide.object_start)
    self.assertFalse(moved(wide, start, *close).held)

  def test_a_held_object_rises_and_a_free_one_falls(self):
    params = task('pick_place')
    start = scene_of(params, hand=params.object_start)
    held = moved(params, start, *[(0.0, 0.0, 0.0, 1.0)] * 3)
    high = moved(params, held, *[(1.0, 0.0, 1.0, 1.0)] * 10)
    np.testing.assert_allclose(
      high.object, params.object_start + np.array([0.1, 0.0, 0.1]), atol=1e-6
    )
    np.testing.assert_allclose(high.opening, 0.4, atol=1e-6)
    heights = [high.object[2]]
    for _ in range(4):
      high = moved(params, high, (0.0, 0.0, 0.0, -1.0))
      heights.append(high.object[2])
    np.testing.assert_allclose(
      heights, [0.12, 0.08, 0.04, 0.02, 0.02], atol=1e-6
    )

  def test_an_open_hand_straddles(self):
    params = task('push')
    start = scene_of(params, hand=params.object_start - [0.03, 0.0, 0.0])
    after = moved(params, start, *[(1.0, 0.0, 0.0, -1.0)] * 8)
    np.testing.assert_allclose(after.object, params.object_start, atol=1e-7)

  def test_what_is_hit_from_right_above_goes_away(self):
    params = task('sweep')
    above = params.object_start + np.array([0.0, 0.0, 0.03])
    start = scene_of(params, hand=above, opening=0.0)
    after = moved(params, start, (0.0, 0.0, -1.0, 1.0))
    aside = np.sqrt(0.04**2 - 0.02**2)
    expected = params.object_start + np.array([0.0, aside, 0.0])
    np.testing.assert_allclose(after.object, expected, atol=1e-6)

  def test_a_door_turns_by_the_angle_the_hand_sweeps(self):
    params = task('door_open')
    joint = params.joint
    radius = np.linalg.norm(joint.arm)
    start = scene_of(params, hand=joint.base + joint.arm, opening=0.0)
    after = moved(params, start, *[(0.0, -1.0, 0.0, 1.0)] * 3)
    np.testing.assert_allclose(after.angle, np.arctan2(0.03, radius), rtol=1e-5)
    # Pulled by an open hand that is in front of it, it stays.
    front = scene_of(params, hand=joint.base + joint.arm - [0.0, 0.02, 0.0])
    self.assertEqual(moved(params, front, (0.0, -1.0, 0.0, -1.0)).angle, 0.0)
    # From behind, an open hand pushes it.
    behind = front._replace(hand=front.hand + np.float32([0.0, 0.04, 0.0]))
    self.assertGreater(moved(params, behind, (0.0, -1.0, 0.0, -1.0)).angle, 0.0)
    # It ends at its limit.
    near_end = scene_of(
      params,
      angle=joint.limit - 1e-3,
      opening=0.0,
      hand=joint.base
      + joint.arm * np.cos(joint.limit)
      + joint.swing * np.sin(joint.limit),
    )
    after = moved(params, near_end, (-1.0, 0.0, 0.0, 1.0))
    np.testing.assert_allclose(after.angle, joint.limit, rtol=1e-6)

  def test_a_button_is_as_deep_as_the_hand_and_springs_back(self):
    params = task('button_press_topdown')
    front = params.button.front
    scene = scene_of(params, hand=front + np.array([0.02, 0.0, 0.005]))
    depths = []
    for _ in range(6):
      scene = moved(params, scene, (0.0, 0.0, -1.0, 1.0))
      depths.append(scene.depth)
    expected = [0.005, 0.015, 0.025, 0.035, 0.04, 0.04]
    np.testing.assert_allclose(depths, expected, atol=1e-6)
    scene = moved(params, scene, *[(1.0, 0.0, 0.0, 1.0)] * 2)
    self.assertEqual(scene.depth, 0.0)
    # From the side, below its front, there is nothing to press.
    side = scene_of(params, hand=front + np.array([0.035, 0.0, -0.02]))
    self.assertEqual(moved(params, side, (-1.0, 0.0, 0.0, 1.0)).depth, 0.0)

  def test_a_peg_passes_only_through_the_hole(self):
    params = task('peg_insert_side')
    hole = params.surroundings.hole
    for aside, passes in ((0.0, True), (0.019, True), (0.03, False)):
      place = hole + np.array([0.005, aside, 0.0])
      start = scene_of(params, hand=place, object=place, held=True, opening=0.4)
      after = moved(params, start, *[(-1.0, 0.0, 0.0, 1.0)] * 6)
      self.assertAlmostEqual(after.hand[0], hole[0] - 0.055, places=5)
      expected = hole[0] - 0.055 if passes else hole[0]
      self.assertAlmostEqual(after.object[0], expected, places=5)
      self.assertTrue(after.held)
    # A hand that goes on without it has lost it.
    after = moved(params, after, *[(-1.0, 0.0, 0.0, 1.0)])
    self.assertFalse(after.held)

  def test_a_shelf_bears_and_a_pit_swallows(self):
    shelf = task('shelf_place')
    over = shelf.aim.goal + np.array([0.0, 0.0, 0.05])
    start = scene_of(shelf, object=over)
    after = moved(shelf, start, *[(0.0, 0.0, 0.0, -1.0)] * 3)
    np.testing.assert_allclose(after.object, shelf.aim.goal, atol=1e-6)
    below = shelf.aim.goal - [0.0, 0.0, 0.05]
    start = scene_of(shelf, object=below)
    after = moved(shelf, start, *[(0.0, 0.0, 0.0, -1.0)] * 4)
    self.assertAlmostEqual(after.object[2], 0.02, places=6)
    pit = task('sweep_into')
    start = scene_of(pit, object=pit.aim.goal + np.array([0.0, 0.0, 0.06]))
    after = moved(pit, start, *[(0.0, 0.0, 0.0, -1.0)] * 3)
    np.testing.assert_allclose(after.object, pit.aim.goal, atol=1e-6)


def mirrored_scene(scene):
  return scene._replace(hand=scene.hand * FLIP, object=scene.object * FLIP)


def mirrored_task(params):
  joint, button = params.joint, params.button
  around, aim = params.surroundings, params.aim
  flip = lambda part, *names: part._replace(
    **{name: getattr(part, name) * FLIP for name in names}
  )
  params = params._replace(
    joint=flip(joint, 'base', 'arm', 'swing'),
    button=flip(button, 'front', 'axis'),
    surroundings=flip(around, 'platform', 'hole', 'normal'),
    aim=flip(aim, 'goal'),
  )
  return flip(params, 'hand_start', 'object_start')


class MirrorTest(absltest.TestCase):
  def test_a_mirrored_world_moves_as_its_image(self):
    scenes, actions, *_ = episodes(1.0, 0.7)
    params = jax.tree.map(lambda x: x[:, :2], all_tasks())
    part = lambda tree: jax.tree.map(lambda x: x[:, :2, ::5], tree)
    scenes, actions = part(scenes), part(actions)

    def both(scene, action, params):
      other = mirrored_task(params)
      flip = jnp.append(FLIP, 1.0)
      ours = advance(scene, action, params)
      theirs = advance(mirrored_scene(scene), action * flip, other)
      image = mirrored_scene(ours)
      return image, theirs, show(ours, params), show(theirs, other)

    run = jax.vmap(jax.vmap(jax.vmap(both, (0, 0, None))))
    image, theirs, frame, other = jax.jit(run)(scenes, actions, params)
    for a, b in zip(image, theirs, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-6)
    pose = [*FLIP, 1, -1, -1, 1]  # a rotation's axis is no arrow
    expected = frame * np.array([*FLIP, 1, *pose, *pose], np.float32)
    np.testing.assert_allclose(other, expected, atol=1e-6)


class ObservationTest(absltest.TestCase):
  def test_the_layout(self):
    scenes, _, obs, *_ = episodes(1.0, 0.7)
    self.assertEqual(obs.shape, (len(NAMES), 50, 100, 39))
    after = jax.tree.map(lambda x: x[:, :, 1:], scenes)
    now = obs[:, :, :-1]
    np.testing.assert_array_equal(now[..., :3], after.hand)
    np.testing.assert_array_equal(now[..., 3], after.opening)
    params = all_tasks()
    objects = np.asarray(params.has_object)[:, 0]
    np.testing.assert_array_equal(now[objects][..., 4:7], after.object[objects])
    identity = np.broadcast_to([0, 0, 0, 1], now[objects][..., 7:11].shape)
    np.testing.assert_array_equal(now[objects][..., 7:11], identity)
    np.testing.assert_array_equal(obs[..., 11:18], 0)  # no second thing
    norms = np.linalg.norm(obs[..., 7:11], axis=-1)
    np.testing.assert_allclose(norms, 1.0, atol=1e-6)
    np.testing.assert_array_equal(obs[:, :, 1:, 18:36], obs[:, :, :-1, :18])
    # A door's handle turns about the vertical axis, to the robot: clockwise.
    door = NAMES.index('door_open')
    half = after.angle[door] / 2
    turned = now[door][..., 7:11]
    np.testing.assert_allclose(turned[..., 2], -np.sin(half), atol=1e-6)
    np.testing.assert_allclose(turned[..., 3], np.cos(half), atol=1e-6)

  def test_first_frames_are_shown_twice(self):
    env = envs.minimanip('lever_pull')
    obs, _ = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    np.testing.assert_array_equal(obs[0, 18:36], obs[0, :18])
    np.testing.assert_array_equal(obs[0, 36:], env.default_params.aim.goal)

  def test_a_second_thing_has_its_place(self):
    params = task('door_open')._replace(has_object=True)
    scene = scene_of(params, object=[0.1, 0.6, 0.02])
    frame = show(jax.tree.map(jnp.asarray, scene), params)
    np.testing.assert_allclose(frame[4:11], [0.1, 0.6, 0.02, 0, 0, 0, 1])
    handle = params.joint.base + params.joint.arm
    np.testing.assert_allclose(frame[11:14], handle, atol=1e-6)

  def test_a_hidden_goal_shows_nowhere(self):
    _, _, obs, *_ = episodes(1.0, 0.7)
    np.testing.assert_array_equal(obs[..., 36:], 0)
    env = envs.minimanip('push', goal_visible=False)
    params = env.default_params
    other = params._replace(aim=params.aim._replace(goal=params.aim.goal + 0.1))
    run = jax.jit(lambda state, params: env.step(None, state, action, params))
    action = jnp.array([[0.3, 0.2, -1.0, 0.5]], jnp.float32)
    _, state = env.reset(None, params)
    ours, theirs = run(state, params), run(state, other)
    np.testing.assert_array_equal(ours.obs, theirs.obs)
    self.assertNotEqual(ours.reward[0], theirs.reward[0])


if __name__ == '__main__':
  absltest.main()
