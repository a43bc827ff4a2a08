"""Methods that decode: best-of-N, First Finish Search, and those that think.

On tables, whose responses can be enumerated or foreseen.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, scaling, search
from ttc.types import FinishReason, Prompt

METHODS = {method.name: method for method in search.METHODS}


def table_sampler(vocab_size, eos_id, capacity):
  return functools.partial(
    sampling.generate,
    model=models.table_model(vocab_size),
    capacity=capacity,
    stop=sampling.stop_rules(vocab_size, [eos_id]),
  )


def prompt_of(token, count):
  return Prompt(
    jnp.full((count, 1), token, jnp.int32), jnp.ones((count,), jnp.int32)
  )


@pytest.mark.parametrize('n', [pytest.param(1, marks=pytest.mark.slow), 4])
def test_best_of_n_has_the_exact_law(n):
  """All responses of a table of 4 tokens; scores with ties between them."""
  V, T, eos, trials = 4, 3, 3, 3000
  table = models.table_model(V).init(jax.random.key(0))
  world = models.enumerate_sequences(table, 0, eos, T)
  reward = lambda tokens: (
    jnp.sum(tokens == 1, -1) - 0.5 * jnp.sum(tokens == 2, -1)
  )
  law = np.asarray(
    scaling.best_of_n_law(jnp.exp(world.log_probs), reward(world.tokens), n)
  )

  search_fn = jax.jit(
    lambda keys: search.best_of_n(
      table,
      keys,
      prompt_of(0, trials),
      table_sampler(V, eos, T),
      lambda prompt, samples: reward(samples.tokens),
      n,
    )
  )
  got = search_fn(jax.random.split(jax.random.key(1), trials))
  digits = V ** np.arange(T)
  code = np.asarray(got.tokens) @ digits
  share = np.array([np.mean(code == c) for c in world.tokens @ digits])
  assert share.sum() == pytest.approx(1)
  # Four standard errors: some 30 outcomes are compared.
  error = np.sqrt(np.maximum(law * (1 - law), 1 / trials) / trials)
  np.testing.assert_array_less(np.abs(share - law), 4 * error)
  np.testing.assert_array_equal(
    got.scores.max(axis=1), reward(np.asarray(got.tokens))
  )


@pytest.mark.slow
@pytest.mark.parametrize('k', [1, 2, 5])
def test_live_first_finish_is_the_shortest_vote(k):
  """The engine cancels; the vote is told all samples. Same keys."""
  B, N, V, eos = 64, 6, 5, 4
  table = models.table_model(V).init(jax.random.key(2))
  keys = jax.random.split(jax.random.key(3), B)
  prompt = prompt_of(0, B)
  sample_fn = table_sampler(V, eos, 8)
  # The second token is the answer; 0 is none.
  answer_fn = lambda prompt, samples: samples.tokens[..., 1] - 1
  setting = search.Setting(
    model=models.table_model(V),
    params=table,
    answer_fn=answer_fn,
    score_fn=lambda prompt, samples: jnp.zeros(samples.lengths.shape),
    eos_ids=(eos,),
    capacity=8,
    max_steps=8,
  )

  @jax.jit
  def both(keys):
    live = search.first_finish_search(
      table, keys, prompt, sample_fn, answer_fn, N, k
    )
    everything = search.observe(
      prompt, sample_fn(table, keys, prompt, N), answer_fn
    )
    told = search.select_each(search.shortest_vote(k), everything)
    if k > 1:
      return live, told, live
    method = METHODS['first_finish_search']
    return live, told, search.solve(method, setting, keys, prompt, N)

  live, told, solved = both(keys)
  jax.tree.map(np.testing.assert_array_equal, live, solved)
  jax.tree.map(np.testing.assert_array_equal, live, told)
  assert len(set(np.asarray(live.answer).tolist())) > 2
  assert jnp.min(live.depth) < 8  # some were cancelled


# A stub that thinks `T0` tokens, proposes to end, answers and stops.
EOS, END, WAIT, FINAL, ANSWER, FIRST, T0 = 1, 2, 3, 4, 5, 6, 5
VOCAB = FIRST + T0


def stub_table():
  following = np.full((VOCAB,), EOS)
  following[WAIT] = FIRST
  following[FIRST:-1] = np.arange(FIRST + 1, VOCAB)
  following[-1] = END
  following[END] = following[FINAL] = ANSWER
  return jnp.asarray(60.0 * np.eye(VOCAB)[following], jnp.float32)


stub_sampler = table_sampler(VOCAB, EOS, 64)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
@functools.partial(jax.vmap, in_axes=(0, 0, None, None, None))
def respond(budget, num_waits, wait, end_id, cut):
  controller = search.budget_forcing(
    end_id,
    end=[end_id],
    cut=cut,
    wait=wait,
    budget=budget,
    num_waits=num_waits,
  )
  key, prompt = jax.random.split(jax.random.key(0), 1), prompt_of(WAIT, 1)
  out = stub_sampler(stub_table(), key, prompt, 1, controller=controller)
  return jax.tree.map(lambda x: x[0, 0], out)


class TestBudgetForcing:
  def run(self, budgets, num_waits, wait=(WAIT,), end_id=END, cut=(END, FINAL)):
    """All numbers of budgets share one program."""
    budgets, num_waits = np.broadcast_arrays(budgets, num_waits)
    pad = lambda x: jnp.pad(jnp.array(x), (0, 120 - budgets.size))
    out = respond(pad(budgets), pad(num_waits), wait, end_id, cut)
    return jax.tree.map(lambda x: np.asarray(x)[: budgets.size], out)

  def test_thinking_length_is_the_smaller_of_budget_and_natural(self):
    budgets, num_waits = map(np.ravel, np.mgrid[:40, :3])
    out = self.run(budgets, num_waits)
    natural = (num_waits + 1) * T0 + num_waits
    thinking = (out.tokens == END).argmax(axis=1)
    np.testing.assert_array_equal(thinking, np.minimum(budgets, natural))
    # A cut adds "Final Answer:"; then one token of answer and the end.
    cut = budgets <= natural
    np.testing.assert_array_equal(out.lengths, thinking + 3 + cut)
    np.testing.assert_array_equal(out.finish_reasons, FinishReason.STOP)
    assert np.all((out.tokens == END).sum(axis=1) == 1)

  def test_two_waits_make_three_segments(self):
    out = self.run([100], 2)
    segment = list(range(FIRST, VOCAB))
    thinking = [*segment, WAIT, *segment, WAIT, *segment]
    written = out.tokens[0, : out.lengths[0]].tolist()
    assert written == [*thinking, END, ANSWER, EOS]

  def test_a_wait_of_two_tokens_does_not_overrun(self):
    budgets = np.array([T0 + 1, T0 + 2])
    out = self.run(budgets, 1, wait=(FINAL, WAIT))
    thinking = (out.tokens == END).argmax(axis=1)
    np.testing.assert_array_equal(thinking, [T0, T0 + 2])

  def test_forced_tokens_were_not_sampled(self):
    out = self.run([3], 0)
    # Three of its own, the forced END and FINAL, the answer, the end. The model
    # gives END after three tokens a log-probability of -60.
    assert out.tokens[0, 3:5].tolist() == [END, FINAL]
    np.testing.assert_array_equal(out.sampling_log_probs[0, 3:5], 0.0)
    np.testing.assert_allclose(out.log_probs[0, 3], -60, atol=1e-3)

  @pytest.mark.slow
  def test_an_end_that_is_let_pass_was_sampled(self):
    """With nothing added to it, it has its own log-probability."""
    out = self.run([100], 0)
    assert out.tokens[0, T0] == END
    np.testing.assert_allclose(
      out.sampling_log_probs[0, : T0 + 3], 0, atol=1e-4
    )
    noisy = stub_table().at[FIRST + T0 - 1, ANSWER].set(60.0)  # END is a coin
    keys = jax.random.split(jax.random.key(0), 64)
    controller = search.budget_forcing(
      END, end=[END], cut=[END], wait=[WAIT], budget=40
    )

    @jax.jit
    def both(keys):
      args = noisy, keys, prompt_of(WAIT, 64), 1
      return stub_sampler(*args, controller=controller), stub_sampler(*args)

    got, plain = both(keys)
    jax.tree.map(np.testing.assert_array_equal, got, plain)
    assert 0 < jnp.mean(plain.tokens[:, 0, T0] == END) < 1

  def test_a_bare_stop_token_at_the_budget_ends_the_response(self):
    """A forced one would not stop it; this one is the only choice."""
    out = self.run([3], 0, end_id=EOS, cut=(EOS,))
    assert out.tokens[0, :4].tolist() == [*range(FIRST, FIRST + 3), EOS]
    assert out.lengths[0] == 4
    assert out.finish_reasons[0] == FinishReason.STOP
    assert out.sampling_log_probs[0, 3] == 0
    assert out.log_probs[0, 3] < -50


@pytest.mark.parametrize('name', ['budget_forcing', 'iterative_deepening'])
class TestSolvingByThought:
  """`T0` tokens of thought, the end, the answer and its end: 8 tokens."""

  def solve(self, name, num_samples, max_length=1024, **changes):
    setting = search.Setting(
      model=models.table_model(VOCAB, max_length),
      params=stub_table(),
      answer_fn=lambda prompt, samples: jnp.sum(samples.tokens == WAIT, -1),
      score_fn=lambda prompt, samples: jnp.zeros(samples.lengths.shape),
      eos_ids=(EOS,),
      capacity=T0 + 3,
      max_steps=T0 + 3,
      thinking=search.Thinking(END, [END], [WAIT], answer_tokens=2),
    )
    method, setting = METHODS[name], setting._replace(**changes)
    solve = lambda keys: search.solve(
      method, setting, keys, prompt_of(WAIT, 2), num_samples
    )
    return jax.jit(solve)(jax.random.split(jax.random.key(0), 2))

  @pytest.mark.parametrize(
    'num_samples, max_length, answer, tokens, depth',
    [
      # A plain sample; three thoughts in one response; with room for two in
      # each, two such responses.
      pytest.param(1, 1024, 0, 8, 8, marks=pytest.mark.slow),
      (3, 1024, 2, 3 * 6 + 2, 20),
      pytest.param(5, 17, 1, 2 * 14, 14, marks=pytest.mark.slow),
    ],
  )
  def test_as_many_thoughts_as_samples(
    self, name, num_samples, max_length, answer, tokens, depth
  ):
    got = self.solve(name, num_samples, max_length)
    np.testing.assert_array_equal(got.answer, answer)  # counts the "Wait"s
    np.testing.assert_array_equal(got.tokens, tokens)
    np.testing.assert_array_equal(got.depth, depth)

  def test_without_thinking_it_cannot(self, name):
    with pytest.raises(ValueError, match='needs a Thinking'):
      self.solve(name, 2, thinking=None)
