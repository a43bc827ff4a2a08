"""Speculative sampling with a trained pair of models (2211.17192)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, tasks
from ttc.claims.claim import (
  Claim,
  difference,
  interval,
  signed,
  text,
  z,
)
from ttc.testbeds.calibrated import (
  NUM_VALUES,
  TASK,
  base,
  base_law,
  draft,
  unseen,
)

NUM_PROBLEMS, NUM_DRAFTED = 1024, 3


def measure(seed, size, cache):
  """With the trained draft, and with one that has learned nothing."""
  target, small = (piece(seed, size, cache) for piece in (base, draft))
  num = size.problems(NUM_PROBLEMS)
  key = jax.random.key(600 + seed)
  respond = lambda params: run(
    target.model, small.model, num, target.params, params, key
  )
  return {
    'trained': respond(small.params),
    'blind': respond(small.model.init(jax.random.key(700 + seed))),
  }


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run(target, draft, num_problems, params, draft_params, key):
  """One response to each problem by a pair, and by the target."""
  data_key, pair_key, alone_key = jax.random.split(key, 3)
  keys_of = lambda key: jax.random.split(key, num_problems)
  problems = unseen(TASK, data_key, num_problems)
  prompt = tasks.to_prompt(problems)
  prefill = functools.partial(
    sampling.prefill,
    prompt=prompt,
    num_rows=1,
    capacity=TASK.response_length,
  )
  stop = sampling.stop_rules(TASK.vocab_size, [TASK.eos_id])
  states = (
    prefill(target, params),
    prefill(draft, draft_params),
  )
  out = sampling.speculative_sample(
    target,
    draft,
    params,
    draft_params,
    keys_of(pair_key),
    *states,
    stop,
    NUM_DRAFTED,
  )
  alone = sampling.sample(
    target, params, keys_of(alone_key), states[0], stop
  ).generation
  responses = out.generation
  p = laws(target, params, prompt, responses)
  q = laws(draft, draft_params, prompt, responses)
  at = lambda law: jnp.take_along_axis(
    law, responses.tokens[:, 0, :, None], axis=-1
  )[..., 0]
  written = jnp.arange(TASK.response_length) < responses.lengths
  right = functools.partial(tasks.score_fn(TASK, problems), prompt)
  answer_fn = tasks.answer_fn(TASK, problems)
  answers = lambda y: (
    (answer_fn(prompt, y)[:, 0] - problems.answer) % NUM_VALUES
  )
  # Of a token that is in the response the draft was accepted by this chance.
  chance = jnp.minimum(1, at(q) / at(p))
  overlap = jnp.sum(jnp.minimum(p, q), axis=-1)
  return {
    'right': right(responses)[:, 0],
    'alone': right(alone)[:, 0],  # the target without a draft
    'answers': answers(responses),  # counted from the right one
    'alone answers': answers(alone),
    'tokens': responses.lengths[:, 0],
    'accepted': out.counters.accepted[:, 0],
    # Sum over tokens of 1 - TV, exact.
    'overlap': jnp.sum(jnp.where(written, overlap, 0), axis=-1),
    'calls': out.counters.target_calls[:, 0],  # of the target
    # Given the response, exact.
    'expected calls': jax.vmap(expected_calls)(chance, responses.lengths[:, 0]),
  }


def laws(model, params, prompt, responses):
  """Law of every token of the first response, `[B, T, V]`, in one pass."""
  tokens = jnp.concatenate([prompt.tokens, responses.tokens[:, 0]], axis=1)
  logits = models.forward(model, params, tokens)  # all prompts are full
  return jax.nn.softmax(logits[:, prompt.tokens.shape[1] - 1 : -1])


def expected_calls(chance, length):
  """Rounds of one response, given the chance that each draft was accepted.

  A round that begins at `t` ends behind the first refusal, or at its end.
  """
  size = chance.size

  def from_start(t, calls):
    t = size - 1 - t
    ends = jnp.zeros(())
    reach = jnp.ones(())
    for i in range(NUM_DRAFTED + 1):
      at = jnp.minimum(t + i, size)
      last = i == NUM_DRAFTED
      stay = 0.0 if last else chance[jnp.minimum(at, size - 1)]
      ends += reach * (1 - stay) * calls[jnp.minimum(at + 1, size)]
      reach *= stay
    return calls.at[t].set(jnp.where(t < length, 1 + ends, 0.0))

  return jax.lax.fori_loop(0, size, from_start, jnp.zeros(size + 1))[0]


def largest_z(run):
  """Of how often each answer is given, the right one and five others."""
  count = lambda x: np.bincount(x, minlength=NUM_VALUES) / x.size
  ours, theirs = count(run['answers']), count(run['alone answers'])
  error = np.sqrt(
    (ours * (1 - ours) + theirs * (1 - theirs)) / run['right'].size
  )
  return float((np.abs(ours - theirs) / error).max())


def figure(run):
  """Acceptance, calls and accuracy beside what they should be."""
  rate = run['accepted'].sum() / run['tokens'].sum()
  want = run['overlap'].sum() / run['tokens'].sum()
  formula = (1 - rate ** (NUM_DRAFTED + 1)) / (1 - rate)
  per_call = run['tokens'].mean() / run['calls'].mean()
  exact = run['tokens'].mean() / run['expected calls'].mean()
  gap = difference(run['right'], run['alone'])
  return (
    f'acceptance {100 * rate:.2f} for 1 - TV {100 * want:.2f}; tokens per call '
    f'of the target {per_call:.3f} for {exact:.3f} given the responses (with '
    f'one rate everywhere and no end {formula:.2f}); accuracy '
    f'{interval(run["right"])}, {signed(gap)} to the target alone, largest z '
    f"of the answers' law {largest_z(run):.1f}"
  )


def keeps_its_law(run):
  """All within three standard errors, twelve rates of answers within four."""
  pairs = (
    ('accepted', 'overlap'),
    ('calls', 'expected calls'),
    ('right', 'alone'),
  )
  return largest_z(run) < 4 and all(
    abs(z(difference(run[a], run[b]))) < 3 for a, b in pairs
  )


def is_faster(data):
  """A trained draft saves calls of the target."""
  return z(difference(data['blind']['calls'], data['trained']['calls'])) > 3


CLAIM = Claim(
  'speculative sampling (S3, L=8, e=.1; 2 layers of 64 by 1 of 32, '
  f'{NUM_DRAFTED} drafted and one)',
  '2211.17192',
  'drafts are accepted as often as the laws overlap, the target is called as '
  'seldom as that implies, and answers keep their law',
  measure,
  checks=[
    text(
      lambda d: figure(d['trained']),
      lambda d: keeps_its_law(d['trained']) and is_faster(d),
    ),
    text(lambda _: f'closed form of the accuracy {100 * base_law()[0]:.1f}'),
  ],
  controls=[
    text(
      lambda d: f'an untrained draft: {figure(d["blind"])}',
      lambda d: keeps_its_law(d['blind']),
    )
  ],
)
