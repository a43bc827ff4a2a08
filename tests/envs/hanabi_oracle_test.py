"""Hanabi against JaxMARL 0.2.0, every field of states that we make.

Where the reference is wrong and ours is right:
- Where all cards are dealt at the start, its first player has two turns, since
  it begins to count when a turn ends. Here each player has one.
- It takes illegal actions: hints without a token or that name no card, discards
  with all tokens there, and waiting in turn, which moves a card that no index
  names. Here they count as the first legal action.
- The shape of its observation space is a number; here it is a tuple.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.hanabi import game

pytestmark = pytest.mark.oracle
pytest.importorskip('jaxmarl')

from jaxmarl.environments.hanabi import Hanabi, hanabi_game  # noqa: E402

NUM_ENVS = 16


def inject(size, state):
  """The reference's state that is ours."""
  colors, ranks = size.num_colors, size.num_ranks
  number = size.deck_size
  one_hot = lambda kind: jax.nn.one_hot(kind, size.num_kinds).reshape(
    *kind.shape, colors, ranks
  )
  bits = lambda x, n: (x[..., None] >> jnp.arange(n)) & 1
  index = jnp.arange(number)
  hands = state.hands
  color_bits, rank_bits = bits(hands.colors, colors), bits(hands.ranks, ranks)
  knowledge = color_bits[..., :, None] * rank_bits[..., None, :]
  out = jnp.repeat(
    jnp.arange(size.num_kinds), state.discards, total_repeat_length=number
  )
  num_out = jnp.sum(state.discards)
  dead = state.life_tokens == 0
  empty = state.num_dealt >= number
  rounds = jnp.where(empty, size.num_players + 1 - state.turns_left, 0)
  won = jnp.sum(state.fireworks) == size.num_kinds
  over = dead | won | (state.turns_left == 0)
  return hanabi_game.State(
    done=over,
    step=state.time,
    deck=one_hot(jnp.where(index < state.num_dealt, -1, state.deck)),
    seat_order=jnp.arange(size.num_players),
    discard_pile=one_hot(jnp.where(index < num_out, out, -1)),
    fireworks=(jnp.arange(ranks) < state.fireworks[:, None]).astype(float),
    player_hands=one_hot(hands.card),
    info_tokens=(jnp.arange(size.info_tokens) < state.info_tokens).astype(int),
    terminal=over,
    life_tokens=(jnp.arange(size.life_tokens) < state.life_tokens).astype(
      float
    ),
    card_knowledge=knowledge.reshape(*hands.card.shape, -1).astype(float),
    colors_revealed=(color_bits * hands.color_told[..., None]).astype(float),
    ranks_revealed=(rank_bits * hands.rank_told[..., None]).astype(float),
    num_cards_dealt=state.num_dealt,
    num_cards_discarded=num_out,
    cur_player_idx=jax.nn.one_hot(state.player, size.num_players),
    out_of_lives=dead,
    last_round_count=rounds,
    bombed=dead,
    remaining_deck_size=(index < number - state.num_dealt).astype(float),
    score=state.score,
  )


def mostly_good(size, env, key, state, params):
  """Random legal actions that seldom play what does not fit."""
  legal = env.avail_actions(state, params)
  kind = state.hands.card
  fits = state.fireworks[kind // size.num_ranks] == kind % size.num_ranks
  logits = jnp.zeros(legal.shape)
  plays = slice(size.hand_size, 2 * size.hand_size)
  logits = logits.at[:, plays].set(jnp.where(fits, 1.0, -3.0))
  return jax.random.categorical(key, jnp.where(legal, logits, -jnp.inf))


@functools.cache
def pair(**sizes):
  env = envs.hanabi(**sizes)
  size = env.step.args[0]
  other = Hanabi(
    num_agents=size.num_players,
    num_colors=size.num_colors,
    num_ranks=size.num_ranks,
    hand_size=size.hand_size,
    max_info_tokens=size.info_tokens,
    max_life_tokens=size.life_tokens,
    num_cards_of_rank=np.array(size.copies),
  )
  return env, size, other


class HanabiOracleTest(parameterized.TestCase):
  @parameterized.parameters(
    {},
    dict(num_players=3),
    dict(num_players=4),
    dict(num_players=5),
    dict(num_colors=2, hand_size=2, info_tokens=3, life_tokens=1),
    dict(num_players=3, num_ranks=3, num_colors=6, copies=(3, 1, 2)),
  )
  def test_games(self, **sizes):
    env, size, other = pair(**sizes)
    params = env.default_params
    batch = envs.vectorize(env)
    names = env.agents
    self.assertEqual(other.num_moves, size.num_actions)
    self.assertEqual(other.obs_size, env.observation_shape[0])
    stack = lambda rows: jnp.stack([rows[name] for name in names])

    def one(key, state, action):
      out = env.step(key, state, action, params)
      before = inject(size, state)
      legal = stack(other.get_legal_moves(before)).astype(bool)
      obs, after, reward, done, _ = other.step_env(
        key, before, dict(zip(names, action, strict=True))
      )
      mine = inject(size, out.state)
      pile = lambda s: s.replace(discard_pile=s.discard_pile.sum(axis=0))
      return (
        (pile(mine), out.reward, out.terminated),
        (pile(after), stack(reward), done['__all__']),
        jnp.max(jnp.abs(out.obs - stack(obs))),
        jnp.all(env.avail_actions(state, params) == legal),
      )

    def body(states, key):
      keys = jax.random.split(key, 3)
      actions = jax.vmap(lambda k, s: mostly_good(size, env, k, s, params))(
        jax.random.split(keys[0], NUM_ENVS), states
      )
      step_keys = jax.random.split(keys[1], NUM_ENVS)
      mine, theirs, gap, legal = jax.vmap(one)(step_keys, states, actions)
      equal = jax.tree.map(lambda a, b: jnp.all(a == b), mine, theirs)
      ends = mine[2]
      last = mine[0].last_round_count > size.num_players
      lost, won = mine[0].out_of_lives, mine[0].fireworks.all(axis=(1, 2))
      counts = jnp.stack([jnp.sum(ends & x) for x in (last, lost, won)])
      out = batch.step(step_keys, states, actions, params)
      return out.state, (equal, gap.max(), legal.all(), counts)

    def run(key):
      _, states = batch.reset(jax.random.split(key, NUM_ENVS), params)
      return jax.lax.scan(body, states, jax.random.split(key, 1000))[1]

    equal, gap, legal, counts = jax.jit(run)(jax.random.key(0))
    for name, same in jax.tree_util.tree_leaves_with_path(equal):
      self.assertTrue(bool(same.all()), jax.tree_util.keystr(name))
    self.assertLess(float(gap.max()), 1e-6)
    self.assertTrue(bool(legal.all()))
    ends = np.asarray(counts.sum(axis=0))
    self.assertTrue(np.all(ends[:2] > 0), f'last round, lives, won: {ends}')

  @parameterized.parameters({}, dict(num_players=5))
  def test_starts(self, **sizes):
    env, size, other = pair(**sizes)
    deck = jax.random.permutation(jax.random.key(1), size.full_deck())
    state = game.deal(size, deck, env.default_params)
    pairs = jnp.stack([deck // size.num_ranks, deck % size.num_ranks], axis=-1)
    obs, theirs = other.reset_from_deck_of_pairs(pairs)
    jax.tree.map(np.testing.assert_array_equal, inject(size, state), theirs)
    mine = env.observe(state, env.default_params)
    rows = np.stack([obs[name] for name in env.agents])
    np.testing.assert_allclose(mine, rows, atol=1e-6)

  def test_the_reference_gives_a_turn_too_many(self):
    env, size, other = pair(num_colors=1, hand_size=5)  # all cards are dealt
    key, params = jax.random.key(0), env.default_params
    _, mine = env.reset(key, params)
    theirs, ended = inject(size, mine), []
    theirs = theirs.replace(last_round_count=jnp.array(0))
    for _ in range(3):
      legal = env.avail_actions(mine, params)
      hints = legal & (jnp.arange(size.num_actions) >= 2 * size.hand_size)
      action = jnp.argmax(hints, axis=-1)
      out = env.step(key, mine, action, params)
      _, theirs, _, done, _ = other.step_env(
        key, theirs, dict(zip(env.agents, action, strict=True))
      )
      mine = out.state
      ended.append((bool(out.terminated), bool(done['__all__'])))
    self.assertEqual(ended[:2], [(False, False), (True, False)])
    self.assertTrue(ended[2][1])

  def test_the_reference_takes_illegal_actions(self):
    env, size, other = pair()
    self.assertEqual(other.observation_space('agent_0').shape, 658)
    deck = jnp.asarray(size.full_deck())  # red cards are dealt
    start = game.deal(size, deck, env.default_params)

    def after(state, action):
      actions = {name: jnp.array(action) for name in env.agents}
      step = other.step_env(jax.random.key(0), inject(size, state), actions)
      legal = env.avail_actions(state, env.default_params)[0, action]
      self.assertFalse(bool(legal))
      return step[1]

    no_card = after(start, 10 + 4)  # tells of blue cards
    self.assertEqual(int(no_card.info_tokens.sum()), 7)
    self.assertEqual(int(no_card.card_knowledge[1].sum()), 5 * 20)
    no_token = after(start._replace(info_tokens=jnp.int32(0)), 10)
    self.assertEqual(int(no_token.card_knowledge[1].sum()), 5 * 5)
    full = after(start, 0)
    self.assertEqual(int(full.num_cards_dealt), 11)
    waits = after(start, 20)
    self.assertEqual(int(waits.num_cards_dealt), 11)


if __name__ == '__main__':
  absltest.main()
