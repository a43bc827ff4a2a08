"""Near exemplars against random ones on SmolLM2 (Medprompt, 2311.16452)."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation, models, sampling, search, tasks
from ttc.tasks import text_task
from ttc.types import Prompt

FAMILIES = ('addition_2digit', 'times_table')
NUM_PROBLEMS, POOL_SIZE = 16, 60  # of a seed and family
NUM_EXEMPLARS = 4
MAX_NEW_TOKENS = 5  # a blank, three digits and the end of the line
PROMPT_LENGTH = 112
QUESTION_LENGTH = 16
ARMS = ('random', 'near', 'near by hidden states', 'near, answers exchanged')


def reproduce(num_seeds: int) -> Row:
  """Greedy accuracy with exemplars of each kind."""
  runs = [
    run(name, seed) for name in FAMILIES for seed in range(num_seeds)
  ]  # families one after another
  right, tokens = (
    {arm: np.concatenate([x[part][arm] for x in runs]) for arm in ARMS}
    for part in (0, 1)
  )
  gap = difference(right['near'], right['random'])
  hidden = difference(right['near by hidden states'], right['random'])
  harm = difference(right['near, answers exchanged'], right['near'])
  longer = tokens['near'].mean() / tokens['random'].mean() - 1
  by_family = {
    name: difference(near, random)
    for name, near, random in zip(
      FAMILIES,
      np.split(right['near'], len(FAMILIES)),
      np.split(right['random'], len(FAMILIES)),
      strict=True,
    )
  }
  return Row(
    f'medprompt_exemplars (SmolLM2-135M, {", ".join(FAMILIES)}, '
    f'{NUM_EXEMPLARS} of {POOL_SIZE} exemplars by their tokens)',
    'near exemplars beat random ones at equal tokens',
    f'random {interval(right["random"])}, near {interval(right["near"])}, '
    f'{signed(gap)} ('
    + ', '.join(f'{name} {signed(g)}' for name, g in by_family.items())
    + '), near by mean hidden states '
    f'{interval(right["near by hidden states"])}, {signed(hidden)}; '
    f'prompts of {tokens["near"].mean():.0f} tokens, {100 * longer:+.1f}%',
    'near, with the answers of the exemplars exchanged: '
    f'{interval(right["near, answers exchanged"])}, {signed(harm)}; no '
    'exemplar has the numbers of the question in either order',
    bool(
      evaluation.confidence_interval(gap)[0] > 0
      and abs(longer) < 0.02
      and harm.mean < 0
    ),
  )


@functools.cache
def loaded():
  """The model, read once."""
  return models.load('smollm2-135m')


def run(name, seed):
  """Whether each arm is right on each problem, and the tokens it reads."""
  tokenizer = loaded().tokenizer
  items = tasks.load(name, num_items=NUM_PROBLEMS + POOL_SIZE, seed=seed).items
  problems, pool = items[:NUM_PROBLEMS], items[NUM_PROBLEMS:]
  numbers = lambda item: sorted(map(int, re.findall(r'\d+', item.question)))
  usable = jnp.array(
    [[numbers(item) != numbers(other) for other in pool] for item in problems]
  )
  nearest = lambda embed: search.nearest_exemplars(
    embed(problems), embed(pool), NUM_EXEMPLARS, usable
  )
  noise = jax.random.normal(jax.random.key(seed), (NUM_PROBLEMS, POOL_SIZE))
  some = jax.lax.top_k(jnp.where(usable, noise, -jnp.inf), NUM_EXEMPLARS)[1]
  shown = dict.fromkeys(ARMS, nearest(count_tokens))
  shown |= {'random': some, 'near by hidden states': nearest(hidden_states)}
  right, tokens = {}, {}
  for arm in ARMS:
    texts = [
      few_shot([pool[i] for i in row], arm.endswith('exchanged'), item)
      for row, item in zip(np.asarray(shown[arm]), problems, strict=True)
    ]
    prompts = [tokenizer.encode(text) for text in texts]
    tokens[arm] = np.array([len(ids) for ids in prompts])
    prompt = pad(prompts, PROMPT_LENGTH)
    said = jax.device_get(decode(loaded().params, prompt))
    right[arm] = np.array(
      [
        text_task.cut(tokenizer.decode(ids.tolist()), ['\n']).strip()
        == item.answer
        for ids, item in zip(said, problems, strict=True)
      ],
      np.float32,
    )
  return right, tokens


def few_shot(shown, exchanged, item):
  """A prompt; the nearest exemplar stands next to the question."""
  answers = [other.answer for other in shown]
  if exchanged:
    answers = answers[1:] + answers[:1]
  solved = [
    f'Question: {other.question}\nAnswer: {answer}\n\n'
    for other, answer in zip(shown, answers, strict=True)
  ]
  return ''.join(solved[::-1]) + f'Question: {item.question}\nAnswer:'


def count_tokens(items):
  """How often each token occurs in a question."""
  tokenizer, size = loaded().tokenizer, loaded().model.vocab_size
  counts = [
    np.bincount(tokenizer.encode(item.question), minlength=size)
    for item in items
  ]
  return jnp.asarray(np.stack(counts), jnp.float32)


def hidden_states(items):
  """The mean of the last layer's states over a question."""
  ids = [loaded().tokenizer.encode(item.question) for item in items]
  return mean_states(loaded().params, pad(ids, QUESTION_LENGTH))


@jax.jit
def mean_states(params, prompt):
  """Mean over the tokens of each prompt."""
  zeros = jnp.zeros_like(prompt.lengths)
  states, _ = loaded().model.features(
    params,
    prompt.tokens[:, None],
    prompt.lengths[:, None],
    models.Cache(None, zeros, None, zeros[:, None]),
  )
  inside = jnp.arange(QUESTION_LENGTH) < prompt.lengths[:, None]
  total = jnp.sum(jnp.where(inside[..., None], states[:, 0], 0.0), axis=1)
  return total / prompt.lengths[:, None]


def pad(rows, length):
  """Prompts of tokens, padded on the right."""
  tokens = np.zeros((len(rows), length), np.int32)
  for row, ids in zip(tokens, rows, strict=True):
    row[: len(ids)] = ids
  lengths = np.array([len(ids) for ids in rows], np.int32)
  return Prompt(jnp.asarray(tokens), jnp.asarray(lengths))


@jax.jit
def decode(params, prompt):
  """The likeliest tokens."""
  model = loaded().model
  generation = sampling.generate(
    params,
    jax.random.split(jax.random.key(0), prompt.lengths.size),
    prompt,
    1,
    model=model,
    capacity=MAX_NEW_TOKENS,
    stop=sampling.stop_at_texts(loaded().tokenizer, model.vocab_size, ['\n']),
    sampling=sampling.SamplingParams(temperature=0.0),
  )
  return generation.tokens[:, 0]
