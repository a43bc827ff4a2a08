"""Hanabi: scripted games, a cheating one, conservation, invariances."""

import functools
import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.hanabi import cards, game, observation

SIZE = cards.Size(2, 5, 5, 5, 8, 3, (3, 2, 2, 2, 1))
KEY = jax.random.key(0)
deal = jax.jit(functools.partial(game.deal, SIZE))
last_move = jax.jit(observation.last_move, static_argnums=0)


def card(name):
  """`'R1'` is the lowest red card."""
  return 'RYGWB'.index(name[0]) * 5 + int(name[1]) - 1


@functools.cache
def compiled(**sizes):
  env = envs.hanabi(**sizes)
  return env, jax.jit(env.reset), jax.jit(env.step), jax.jit(env.observe)


def dealt(first, second, then=''):
  """A game of two whose deck begins with these cards."""
  names = f'{first} {second} {then}'.split()
  top = [card(name) for name in names]
  rest = list(SIZE.full_deck())
  for kind in top:
    rest.remove(kind)
  deck = np.array(top + rest, np.int32)
  return jax.device_get(deal(deck, cards.HanabiParams()))


def act(state, *actions):
  """Moves of whoever's turn it is; the last step."""
  env, _, step, _ = compiled()
  for action in actions:
    move = np.full((2,), action, np.int32)
    out = jax.device_get(step(KEY, state, move, env.default_params))
    state = out.state
  return out


DISCARD, PLAY, COLOR, RANK = 0, 5, 10, 15  # first actions of a kind


def check_conservation(test, size, state):
  """Each card is in one place."""
  fireworks = [
    color * size.num_ranks + rank
    for color, lies in enumerate(state.fireworks)
    for rank in range(int(lies))
  ]
  held = [x for x in np.asarray(state.hands.card).reshape(-1) if x >= 0]
  out = np.repeat(np.arange(size.num_kinds), np.asarray(state.discards))
  deck = np.asarray(state.deck)[min(int(state.num_dealt), size.deck_size) :]
  everything = np.sort(np.concatenate([fireworks, held, out, deck]))
  np.testing.assert_array_equal(everything, np.sort(size.full_deck()))


def cheat(size, state):
  """The move of one who sees all cards: play what fits, else the least loss."""
  player, ranks = int(state.player), size.num_ranks
  hand = [int(x) for x in state.hands.card[player]]
  lies = np.asarray(state.fireworks)
  fits = [
    i for i, x in enumerate(hand) if x >= 0 and lies[x // ranks] == x % ranks
  ]
  if fits:  # the lowest first, fives at last
    return size.hand_size + min(fits, key=lambda i: hand[i] % ranks)
  others = np.delete(np.asarray(state.hands.card), player, axis=0)
  seen = list(others.reshape(-1))

  def loss(i):
    kind = hand[i]
    color, rank = divmod(kind, ranks)
    if rank < lies[color]:
      return 0
    if kind in seen or hand.count(kind) > 1:
      return 1
    left = size.copies[rank] - int(state.discards[kind])
    return 10 - rank if left > 1 else 100

  worst = min((loss(i), i) for i, x in enumerate(hand) if x >= 0)
  tokens, limit = int(state.info_tokens), size.info_tokens
  if tokens < limit and (worst[0] <= 1 or tokens == 0):
    return worst[1]
  target = (player + 1) % size.num_players
  told = int(state.hands.card[target, 0])
  return 2 * size.hand_size + told // ranks


class ScriptTest(parameterized.TestCase):
  def test_plays_and_mistakes(self):
    state = dealt('R1 R2 Y2 G5 B4', 'Y1 W3 W4 B5 G1', 'R3 R4 B1')
    out = act(state, PLAY + 0)  # red 1
    np.testing.assert_array_equal(out.state.fireworks, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(out.reward, [1, 1])
    hand = [card(x) for x in 'R2 Y2 G5 B4 R3'.split()]
    np.testing.assert_array_equal(out.state.hands.card[0], hand)
    self.assertEqual(int(out.state.player), 1)
    out = act(out.state, PLAY + 0)  # yellow 1
    np.testing.assert_array_equal(out.reward, [1, 1])
    out = act(out.state, PLAY + 2)  # green 5 does not fit
    self.assertEqual(int(out.state.life_tokens), 2)
    self.assertEqual(int(out.state.discards[card('G5')]), 1)
    np.testing.assert_array_equal(out.reward, [0, 0])
    out = act(out.state, PLAY + 0)  # nor white 3
    self.assertFalse(bool(out.terminated))
    out = act(out.state, PLAY + 2)  # nor blue 4: the last life
    self.assertEqual(int(out.state.life_tokens), 0)
    np.testing.assert_array_equal(out.reward, [-2, -2])
    self.assertTrue(bool(out.terminated))
    self.assertEqual(int(out.state.score), 0)
    self.assertEqual(int(jnp.sum(out.state.discards)), 3)

  def test_points_can_be_kept(self):
    env, _, step, _ = compiled()
    state = dealt('R1 R2 Y2 G5 B4', 'Y1 W3 W4 B5 G1')
    state = act(state, PLAY)[1]._replace(life_tokens=jnp.int32(1))
    for lose, reward in ((True, -1), (False, 0)):
      params = env.default_params._replace(lose_score=lose)
      out = step(KEY, state, jnp.full((2,), PLAY + 1), params)
      self.assertTrue(bool(out.terminated))
      np.testing.assert_array_equal(out.reward, [reward, reward])

  def test_tokens(self):
    state = dealt('R1 R2 R3 R4 R5', 'Y1 W3 W4 B5 G1')
    out = act(state, COLOR + 3)  # white
    self.assertEqual(int(out.state.info_tokens), 7)
    self.assertEqual(int(out.state.num_dealt), 10)
    out = act(out.state, DISCARD + 0)
    self.assertEqual(int(out.state.info_tokens), 8)
    self.assertEqual(int(out.state.num_dealt), 11)
    out = act(out.state, RANK + 0, RANK + 4)  # a token for neither
    self.assertEqual(int(out.state.info_tokens), 6)
    # A complete firework brings a token, but not beyond the limit.
    out = act(out.state, PLAY, COLOR, PLAY, COLOR, PLAY, COLOR, PLAY, COLOR)
    self.assertEqual(int(out.state.info_tokens), 2)
    done = act(out.state, PLAY)
    self.assertEqual(int(done.state.info_tokens), 3)
    self.assertTrue(bool(done.state.move.gained))
    full = out.state._replace(info_tokens=jnp.int32(8))
    done = act(full, PLAY)
    self.assertEqual(int(done.state.info_tokens), 8)
    self.assertFalse(bool(done.state.move.gained))

  def test_hints(self):
    state = dealt('R1 R2 Y2 G5 B4', 'Y1 W3 W4 B5 Y3')
    out = act(state, COLOR + 1)  # yellow
    hands = out.state.hands
    touched = [True, False, False, False, True]
    np.testing.assert_array_equal(out.state.move.touched, touched)
    yellow, others = 0b00010, 0b11101
    np.testing.assert_array_equal(
      hands.colors[1], [yellow, others, others, others, yellow]
    )
    np.testing.assert_array_equal(hands.color_told[1], touched)
    np.testing.assert_array_equal(hands.colors[0], [31] * 5)
    out = act(out.state, RANK + 1, RANK + 2)  # twos to player 0, threes to 1
    hands = out.state.hands
    two, not_two = 0b00010, 0b11101
    np.testing.assert_array_equal(
      hands.ranks[0], [not_two, two, two, not_two, not_two]
    )
    np.testing.assert_array_equal(
      hands.rank_told[1], [False, True, False, False, True]
    )
    # Cards move up with what is known of them; the new one is unknown.
    out = act(out.state, DISCARD + 0)
    np.testing.assert_array_equal(
      out.state.hands.colors[1], [others, others, others, yellow, 31]
    )
    np.testing.assert_array_equal(
      out.state.hands.color_told[1], [False] * 3 + [True, False]
    )
    out = act(out.state, DISCARD + 1)
    np.testing.assert_array_equal(
      out.state.hands.ranks[0], [not_two, two, not_two, not_two, 31]
    )

  def test_the_last_round(self):
    state = dealt('R1 R2 R3 R4 R5', 'Y1 W3 W4 B5 G1')
    state = state._replace(num_dealt=jnp.int32(49))
    ended = []
    for t, action in enumerate([COLOR + 1, DISCARD + 0, RANK + 0, PLAY + 0]):
      out = act(state, action)
      ended.append(bool(out.terminated))
      state = out.state
      if t == 1:
        self.assertEqual(int(state.num_dealt), 50)
        self.assertEqual(int(state.turns_left), 2)
    # Player 1 took the last card; player 0, then player 1 had a turn.
    self.assertEqual(ended, [False, False, False, True])
    self.assertEqual(int(state.hands.card[1, 4]), cards.NONE)
    self.assertEqual(int(state.hands.colors[1, 4]), 0)

  def test_a_firework_that_is_complete_takes_no_card(self):
    # The lowest yellow card would be the next kind after the highest red one.
    state = dealt('Y1 Y1 G5 B5 W5', 'Y2 G2 B2 W2 R2')
    fireworks = jnp.array([5, 1, 0, 0, 0], jnp.int32)
    out = act(state._replace(fireworks=fireworks), PLAY)
    self.assertEqual(out.state.life_tokens, 2)
    np.testing.assert_array_equal(out.state.fireworks, fireworks)
    self.assertEqual(out.reward[0], 0)

  def test_a_gap_has_no_rank(self):
    state = dealt('R1 R2 R3 R4 R5', 'Y1 W3 W4 B5 G1')
    gap = state.hands.card.copy()
    gap[1, 4] = cards.NONE
    state = state._replace(hands=state.hands._replace(card=gap))
    out = act(state, RANK + 4)
    np.testing.assert_array_equal(out.state.move.touched, [0, 0, 0, 1, 0])

  def test_an_illegal_action_is_the_first_legal_one(self):
    env, *_ = compiled()
    state = dealt('R1 R2 R3 R4 R5', 'Y1 W3 W4 B5 G1')
    legal = np.asarray(jax.jit(env.avail_actions)(state, env.default_params))
    np.testing.assert_array_equal(
      np.flatnonzero(legal[0]), [5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 18, 19]
    )
    np.testing.assert_array_equal(np.flatnonzero(legal[1]), [20])
    wanted = act(state, PLAY)
    for action in (DISCARD + 2, COLOR + 0, RANK + 1, 20):
      jax.tree.map(np.testing.assert_array_equal, act(state, action), wanted)
    state = state._replace(info_tokens=jnp.int32(0))
    wanted = act(state, DISCARD)
    for action in (COLOR + 1, RANK + 0, 20):
      jax.tree.map(np.testing.assert_array_equal, act(state, action), wanted)

  @parameterized.parameters(
    (dict(num_players=1), 'num_players=1, expected 2 .. 5'),
    (dict(num_players=6), 'num_players=6, expected 2 .. 5'),
    (dict(num_colors=7), 'num_colors=7'),
    (dict(num_ranks=0), 'num_ranks=0'),
    (dict(hand_size=0), 'hand_size=0'),
    (dict(info_tokens=0), 'info_tokens=0'),
    (dict(life_tokens=0), 'life_tokens=0'),
    (dict(copies=(3, 2)), r'copies=\(3, 2\), expected 5 numbers >= 1'),
    (dict(num_colors=1, num_players=5), '5 hands of 4 cards, expected at most'),
  )
  def test_bad_sizes(self, sizes, message):
    with self.assertRaisesRegex(ValueError, message):
      envs.hanabi(**sizes)


class WholeGameTest(parameterized.TestCase):
  @parameterized.parameters(
    ({}, 11), (dict(num_players=5), 0), (dict(num_colors=2, hand_size=3), 0)
  )
  def test_one_who_sees_all_cards_wins(self, sizes, seed):
    env, reset, step, _ = compiled(**sizes)
    start = reset(jax.random.key(seed), env.default_params)
    _, state = jax.device_get(start)
    avail_actions = jax.jit(env.avail_actions)
    size = env.step.args[0]
    total = 0
    for _ in range(100):
      move = np.full((env.num_agents,), cheat(size, state), np.int32)
      legal = np.asarray(avail_actions(state, env.default_params))
      self.assertTrue(legal[int(state.player), int(move[0])])
      out = jax.device_get(step(KEY, state, move, env.default_params))
      state, total = out.state, total + float(out.reward[0])
      check_conservation(self, size, state)
      self.assertEqual(bool(out.terminated), total == size.num_colors * 5)
      if out.terminated:
        break
    self.assertEqual(total, size.num_colors * 5)
    self.assertEqual(int(state.score), total)
    self.assertTrue(bool(out.terminated))

  @parameterized.parameters(
    {}, dict(num_players=3), dict(num_players=4, num_ranks=4)
  )
  def test_conservation(self, **sizes):
    env, *_ = compiled(**sizes)
    params, size = env.default_params, env.step.args[0]

    def play(key):
      _, state = env.reset(key, params)

      def body(carry, t):
        state, over = carry
        keys = jax.random.split(jax.random.fold_in(key, t))
        action = envs.random_actions(env, keys[0], state, params)
        out = env.step(keys[1], state, action, params)
        after = jax.tree.map(
          lambda a, b: jnp.where(over, a, b), state, out.state
        )
        return (after, over | out.terminated), (after, over | out.terminated)

      return jax.lax.scan(body, (state, jnp.zeros((), bool)), jnp.arange(100))[
        1
      ]

    play = jax.jit(jax.vmap(play))
    states, over = play(jax.random.split(jax.random.key(3), 20))
    self.assertTrue(bool(jnp.all(over[:, -1])))
    table = jax.device_get(states)
    for index in itertools.product(range(20), (0, 5, 20, 99)):
      state = jax.tree.map(operator.itemgetter(index), table)
      check_conservation(self, size, state)
    self.assertTrue(bool(jnp.all(states.info_tokens >= 0)))
    self.assertTrue(bool(jnp.all(states.info_tokens <= size.info_tokens)))
    # What is known of a card is true.
    kind = states.hands.card
    right = (states.hands.colors >> (kind // size.num_ranks)) & (
      states.hands.ranks >> (kind % size.num_ranks)
    )
    self.assertTrue(bool(jnp.all((right & 1) | (kind == cards.NONE))))

  def test_shuffles_are_uniform(self):
    deck = np.arange(4)
    shuffle = jax.jit(jax.vmap(lambda key: game.shuffle(key, deck)))
    orders = np.asarray(shuffle(jax.random.split(jax.random.key(1), 12000)))
    np.testing.assert_array_equal(np.sort(orders), np.tile(deck, (12000, 1)))
    _, counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)
    self.assertLen(counts, 24)
    np.testing.assert_allclose(counts / 500, 1, atol=0.2)


class ObservationTest(parameterized.TestCase):
  @parameterized.parameters((2, 658), (3, 956), (4, 1041), (5, 1280))
  def test_size(self, num_players, width):
    env = envs.hanabi(num_players)
    self.assertEqual(env.observation_shape, (width,))
    obs = jax.eval_shape(env.reset, KEY, env.default_params)[0]
    self.assertEqual(obs.shape, (num_players, width))

  def test_by_hand(self):
    state = dealt('R1 R2 Y2 G5 B4', 'Y1 W3 W4 B5 Y3', 'G1 G3')
    out = act(state, PLAY + 0, DISCARD + 3, COLOR + 1)  # R1, not B5; yellow
    out = act(state, PLAY + 0, COLOR + 0, DISCARD + 2, RANK + 1)
    # Player 0 holds R2 Y2 B4 G1 G3, R2 known red, R2 and Y2 known twos.
    obs = np.asarray(out.obs)
    zero = {}
    for player in range(2):
      parts = np.split(obs[player], np.cumsum([125, 2, 40, 25, 8, 3, 50, 55]))
      hands, gaps, deck, fireworks, tokens, lives, out_, move, belief = parts
      other = ('Y1 W3 W4 B5 Y3', 'R2 Y2 B4 G1 G3')[player].split()
      np.testing.assert_array_equal(
        np.flatnonzero(hands),
        [25 * i + card(name) for i, name in enumerate(other)],
      )
      np.testing.assert_array_equal(gaps, 0)
      np.testing.assert_array_equal(deck, [1] * 38 + [0] * 2)
      np.testing.assert_array_equal(np.flatnonzero(fireworks), [card('R1')])
      np.testing.assert_array_equal(tokens, [1] * 7 + [0])
      np.testing.assert_array_equal(lives, [1] * 3)
      np.testing.assert_array_equal(np.flatnonzero(out_), [20 + 9])  # G5
      sections = np.split(move, np.cumsum([2, 4, 2, 5, 5, 5, 5, 25, 1]))
      acting, kind, target, color, rank, named, slot, shown, scored, gained = (
        list(map(int, x)) for x in sections
      )
      self.assertEqual(acting, [0, 1] if player == 0 else [1, 0])
      self.assertEqual(kind, [0, 0, 0, 1])
      self.assertEqual(target, [1, 0] if player == 0 else [0, 1])
      self.assertEqual((color, rank), ([0] * 5, [0, 1, 0, 0, 0]))
      self.assertEqual(named, [1, 1, 0, 0, 0])
      self.assertEqual(
        (sum(slot), sum(shown), scored, gained), (0, 0, [0], [0])
      )
      zero[player] = belief.reshape(2, 5, 35)
    np.testing.assert_array_equal(zero[0], zero[1][::-1])
    mine = zero[0][0]
    # A red two, for certain.
    np.testing.assert_array_equal(np.flatnonzero(mine[0]), [card('R2'), 25, 31])
    self.assertEqual(mine[0, card('R2')], 1)
    # A two that is not red: one of 8 cards, 2 in each colour.
    np.testing.assert_allclose(mine[1, [6, 11, 16, 21]], 0.25)
    self.assertEqual(mine[1, 1], 0)
    np.testing.assert_array_equal(mine[1, 25:], np.arange(10) == 6)
    np.testing.assert_array_equal(mine[2, 25:], 0)
    # Neither red nor a two: 32 cards less the discarded green five.
    weights = np.tile([3, 0, 2, 2, 1], 5) * np.repeat([0, 1, 1, 1, 1], 5)
    weights[card('G5')] = 0
    np.testing.assert_allclose(mine[2, :25], weights / 31, rtol=1e-6)

  def test_last_moves_by_hand(self):
    def seen(state):
      """By player 0: player, kind, target, words, named, slot, card, score."""
      move = np.asarray(last_move(SIZE, state))[0].astype(int)
      parts = np.split(move, np.cumsum([2, 4, 2, 10, 5, 5, 25]))
      return [list(np.flatnonzero(x)) for x in parts]

    state = dealt('R1 R2 R3 R4 R5', 'Y1 W3 W4 B5 G1')
    self.assertEqual(seen(state), [[]] * 8)
    out = act(state, PLAY + 0)
    self.assertEqual(seen(out.state), [[0], [0], [], [], [], [0], [0], [0]])
    state = out.state._replace(info_tokens=jnp.int32(1))
    out = act(state, DISCARD + 2)
    kind = card('W4')
    self.assertEqual(seen(out.state), [[1], [1], [], [], [], [2], [kind], []])
    out = act(out.state, COLOR + 3)
    self.assertEqual(seen(out.state), [[0], [2], [1], [3], [1], [], [], []])
    state = state._replace(player=jnp.int32(0))
    state = state._replace(fireworks=jnp.array([4, 0, 0, 0, 0], jnp.int32))
    out = act(state, PLAY + 3)  # the red five
    self.assertEqual(seen(out.state)[-2:], [[card('R5')], [0, 1]])

  def test_places_are_counted_from_whoever_looks(self):
    env, _, step, _ = compiled(num_players=3)
    size, params = env.step.args[0], env.default_params
    state = game.deal(size, jnp.asarray(size.full_deck()), params)
    state = state._replace(player=jnp.int32(1))
    # To the second player after it, which is player 0: a red card.
    out = step(KEY, state, jnp.full((3,), 10 + 5), params)
    move = np.asarray(last_move(size, out.state)).astype(int)
    acting, target = move[:, :3], move[:, 7:10]
    np.testing.assert_array_equal(np.argmax(acting, axis=1), [1, 0, 2])
    np.testing.assert_array_equal(np.argmax(target, axis=1), [0, 2, 1])
    np.testing.assert_array_equal(
      out.state.hands.color_told.any(axis=1), [1, 0, 0]
    )

  def test_hands_of_others_in_their_order(self):
    env, reset, _, observe = compiled(num_players=3)
    _, state = reset(jax.random.key(7), env.default_params)
    seen = observe(state, env.default_params)
    order = np.array([[1, 2], [2, 0], [0, 1]])
    kinds = np.argmax(seen[:, : 2 * 5 * 25].reshape(3, 2, 5, 25), axis=-1)
    np.testing.assert_array_equal(kinds, np.asarray(state.hands.card)[order])
    # Beliefs come last, the own ones first: mark those of one player.
    told = jnp.asarray(state.hands.color_told).at[1, 0].set(True)
    marked = state._replace(hands=state.hands._replace(color_told=told))
    change = observe(marked, env.default_params) != seen
    beliefs = change[:, -3 * 5 * 35 :].reshape(3, 3, -1)
    places = np.argmax(np.any(beliefs, axis=-1), axis=-1)
    np.testing.assert_array_equal(places, [1, 0, 2])

  def test_nobody_sees_its_own_cards(self):
    env, reset, _, observe = compiled(num_players=3)
    _, state = reset(jax.random.key(2), env.default_params)
    before = observe(state, env.default_params)
    for player in range(3):
      changed = (
        jnp.asarray(state.hands.card)
        .at[player]
        .set((state.hands.card[player] + 7) % 25)
      )
      hands = state.hands._replace(card=changed)
      after = observe(state._replace(hands=hands), env.default_params)
      same = np.all(np.asarray(before == after), axis=1)
      np.testing.assert_array_equal(same, np.arange(3) == player)

  def test_colors_can_be_renamed(self):
    env, reset, step, _ = compiled(num_players=3)
    params, size = env.default_params, env.step.args[0]
    rename = np.array([2, 0, 4, 1, 3])
    draw = jax.jit(lambda key, s: envs.random_actions(env, key, s, params))
    law = jax.jit(lambda s: observation.law(size, s).reshape(3, 5, 5, 5))
    _, state = reset(jax.random.key(5), params)
    deck = rename[np.asarray(state.deck) // 5] * 5 + np.asarray(state.deck) % 5
    other = game.deal(size, jnp.asarray(deck, jnp.int32), params)
    for t in range(25):
      action = draw(jax.random.key(t), state)
      move = int(action[int(state.player)])
      hint = move - 10
      renamed = (
        10 + hint // 5 * 5 + rename[hint % 5] if 0 <= hint < 10 else move
      )
      a = step(KEY, state, action, params)
      b = step(KEY, other, jnp.full((3,), renamed), params)
      np.testing.assert_array_equal(a.reward, b.reward)
      self.assertEqual(bool(a.terminated), bool(b.terminated))
      state, other = a.state, b.state
      np.testing.assert_array_equal(
        state.fireworks, np.asarray(other.fireworks)[rename]
      )
      np.testing.assert_allclose(law(state), law(other)[:, :, rename])
      if a.terminated:
        break

  def test_seats_can_be_turned(self):
    # Whoever sits where sees the same as another one seat further.
    env, reset, _, observe = compiled(num_players=4)
    _, state = reset(jax.random.key(6), env.default_params)
    roll = lambda x: jnp.roll(x, 1, axis=0)
    turned = state._replace(hands=jax.tree.map(roll, state.hands))
    here = observe(state, env.default_params)
    there = observe(turned, env.default_params)
    np.testing.assert_array_equal(roll(here), there)


if __name__ == '__main__':
  absltest.main()
