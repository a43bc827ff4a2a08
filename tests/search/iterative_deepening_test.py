"""Iterative deepening: when triggers are written, and what they change."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search
from ttc.types import FinishReason, Prompt

EOS, TRIGGER, TRIGGER_2, WORD, DELIMITER = range(5)
V, CAPACITY = 5, 64
GROWTHS = [(2, 1), (3, 1), (3, 2), (6, 5)]  # gamma as a ratio


def recursion(first, growth, count):
  """In whole numbers: the growth is a ratio `p / q`."""
  p, q = growth
  budgets = [first]
  while len(budgets) < count:
    budgets.append(-(-p * budgets[-1] // q))
  return budgets


def respond(
  following,
  first_budget,
  growth,
  *,
  trigger=(TRIGGER,),
  num_triggers=8,
  retry_on_eos=False,
  delimiter_ids=(),
):
  """The response of a model that says `following[token]` after each token."""
  run = sampler(tuple(trigger), num_triggers, retry_on_eos, delimiter_ids)
  table = 60.0 * jnp.eye(V)[jnp.array(following)]
  return jax.device_get(run(table, first_budget, growth))


@functools.cache
def sampler(trigger, num_triggers, retry_on_eos, delimiter_ids):
  def run(table, first_budget, growth):
    out = sampling.generate(
      table,
      jax.random.split(jax.random.key(0), 1),
      Prompt(jnp.full((1, 1), WORD), jnp.ones((1,), jnp.int32)),
      1,
      model=models.table_model(V),
      capacity=CAPACITY,
      stop=sampling.stop_rules(V, [EOS]),
      controller=search.iterative_deepening(
        [EOS],
        trigger=trigger,
        first_budget=first_budget,
        growth=growth,
        num_triggers=num_triggers,
        retry_on_eos=retry_on_eos,
        delimiter_ids=delimiter_ids,
      ),
    )
    return jax.tree.map(lambda x: x[0, 0], out)

  return jax.jit(run)


@pytest.mark.parametrize(
  'first, growth',
  list(itertools.product([1, 3, 5, 10, 64], GROWTHS)),
)
def test_budgets_are_the_exact_recursion(first, growth):
  got = search.deepening_budgets(first, growth[0] / growth[1], 9)
  assert got.tolist() == recursion(first, growth, 9)


def test_the_number_of_budgets_reached():
  """By length `T`: `1 + floor(log_gamma(T / B_0))`, which rounding up lowers.

  Rounding adds at most `(gamma^j - 1) / (gamma - 1)` to budget `j`.
  """
  first = 4
  for growth in GROWTHS:
    gamma = growth[0] / growth[1]
    budgets = np.asarray(search.deepening_budgets(first, gamma, 24))
    budgets = budgets[budgets < 10_000]  # of those, float32 is exact
    for T in range(first, 300):
      count = np.sum(budgets <= T)
      formula = 1 + math.floor(math.log(T / first) / math.log(gamma) + 1e-9)
      if growth[1] == 1:
        assert count == formula
      assert count <= formula
    j = np.arange(len(budgets))
    gamma_j = gamma**j
    assert np.all(budgets >= first * gamma_j * (1 - 1e-6))
    bound = first * gamma_j + (gamma_j - 1) / (gamma - 1)
    assert np.all(budgets <= bound * (1 + 1e-6))


def test_restarting_at_each_budget_would_cost_a_constant_factor():
  """`sum_{i<=j} B_i` for a need just above `B_{j-1}`: under gamma^2/(gamma-1).

  The controller goes on from the whole history and pays none of it.
  """
  for gamma in (2, 3, 4):
    budgets = np.asarray(search.deepening_budgets(5, gamma, 8))
    ratio = np.cumsum(budgets)[1:] / (budgets[:-1] + 1)
    assert np.all(ratio < gamma**2 / (gamma - 1))
    assert ratio[-1] > 0.99 * gamma**2 / (gamma - 1)


class TestTriggers:
  # Every token is followed by a word: the model never ends.
  ENDLESS = (WORD,) * V

  @pytest.mark.parametrize('growth', [(2, 1), (3, 2)])
  @pytest.mark.parametrize('trigger', [[TRIGGER], [TRIGGER, TRIGGER_2]])
  def test_they_stand_at_the_budgets(self, growth, trigger):
    out = respond(
      self.ENDLESS,
      trigger=trigger,
      first_budget=5,
      growth=growth[0] / growth[1],
    )
    starts = np.flatnonzero(out.tokens == TRIGGER)
    want = [b for b in recursion(5, growth, 8) if b < CAPACITY]
    assert starts.tolist() == want
    forced = np.asarray(out.tokens) != WORD
    assert forced.sum() == sum(
      min(len(trigger), CAPACITY - start) for start in want
    )
    np.testing.assert_array_equal(out.sampling_log_probs[forced], 0)
    assert np.all(np.asarray(out.log_probs)[forced] < -20)
    assert int(out.finish_reasons) == FinishReason.LENGTH

  def test_only_so_many(self):
    out = respond(self.ENDLESS, 5, 2.0, num_triggers=2)
    assert np.flatnonzero(out.tokens == TRIGGER).tolist() == [5, 10]

  def test_a_long_trigger_delays_the_next(self):
    """Budgets 2, 3 and 5; the trigger of three tokens ends at 5 and at 8."""
    trigger = [TRIGGER, TRIGGER_2, TRIGGER_2]
    out = respond(self.ENDLESS, 2, 1.5, trigger=trigger, num_triggers=3)
    assert np.flatnonzero(out.tokens == TRIGGER).tolist() == [2, 5, 8]

  @pytest.mark.slow
  def test_budgets_and_growth_are_swept_by_one_map(self):
    table = 60.0 * jnp.eye(V)[jnp.array(self.ENDLESS)]
    sweep = jax.vmap(sampler((TRIGGER,), 8, False, ()), in_axes=(None, 0, 0))
    out = sweep(table, jnp.array([5, 7, 5]), jnp.array([2.0, 2.0, 3.0]))
    starts = [np.flatnonzero(row == TRIGGER).tolist() for row in out.tokens]
    assert starts == [[5, 10, 20, 40], [7, 14, 28, 56], [5, 15, 45]]

  def test_at_a_delimiter_only(self):
    # words and delimiters in turn, starting with a delimiter at position 0
    following = [EOS, WORD, WORD, DELIMITER, WORD]
    out = respond(following, 4, 2.0, delimiter_ids=(DELIMITER,))
    tokens = np.asarray(out.tokens)
    starts = np.flatnonzero(tokens == TRIGGER)
    assert np.all(tokens[starts - 1] == DELIMITER)
    budgets = np.array([4, 8, 16, 32])
    assert len(starts) == 4
    assert np.all((starts >= budgets) & (starts <= budgets + 1))
    assert np.any(starts > budgets)  # one had to wait
    free = respond(following, 4, 2.0)
    free_starts = np.flatnonzero(np.asarray(free.tokens) == TRIGGER)
    assert free_starts.tolist() == budgets.tolist()


class TestEnds:
  # A word is followed by the end; a trigger by a delimiter, then a word.
  HASTY = (EOS, DELIMITER, DELIMITER, EOS, WORD)

  def test_an_early_end_is_let_through(self):
    out = respond(self.HASTY, 10, 2.0)
    assert out.tokens[: int(out.lengths)].tolist() == [EOS]
    assert int(out.finish_reasons) == FinishReason.STOP

  def test_retries_replace_it_until_there_are_no_more(self):
    out = respond(self.HASTY, 10, 2.0, num_triggers=3, retry_on_eos=True)
    again = [TRIGGER, DELIMITER, WORD]
    assert out.tokens[: int(out.lengths)].tolist() == again * 3 + [EOS]
    assert int(out.finish_reasons) == FinishReason.STOP

  @pytest.mark.parametrize('retry', [False, True])
  def test_an_end_right_at_the_budget_is_replaced(self, retry):
    """The count reaches 0 before the end is written: a trigger at once."""
    out = respond(self.HASTY, 0, 2.0, num_triggers=1, retry_on_eos=retry)
    written = out.tokens[: int(out.lengths)].tolist()
    assert written == [TRIGGER, DELIMITER, WORD, EOS]
