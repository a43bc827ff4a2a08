"""Near exemplars against random ones on SmolLM2 (Medprompt, 2311.16452)."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks
from ttc.claims.claim import Claim, difference, interval, low, signed, text
from ttc.tasks import text_task
from ttc.testbeds.smollm2 import load, load_tokenizer, pad

FAMILIES = ('addition_2digit', 'times_table')
NUM_PROBLEMS, POOL_SIZE = 16, 60  # of a seed and family
NUM_EXEMPLARS = 4
MAX_NEW_TOKENS = 5  # a blank, three digits and the end of the line
PROMPT_LENGTH = 112
QUESTION_LENGTH = 16
ARMS = ('random', 'near', 'near by hidden states', 'near, answers exchanged')


def measure(seed, size, cache):
  """By family: whether each arm is right on each problem, and its tokens."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  return {name: run(name, seed, num) for name in FAMILIES}


def run(name, seed, num_problems):
  """Whether each arm is right on each problem, and the tokens it reads."""
  tokenizer = load_tokenizer()
  items = tasks.load(name, num_items=num_problems + POOL_SIZE, seed=seed).items
  problems, pool = items[:num_problems], items[num_problems:]
  numbers = lambda item: sorted(map(int, re.findall(r'\d+', item.question)))
  usable = jnp.array(
    [[numbers(item) != numbers(other) for other in pool] for item in problems]
  )
  nearest = lambda embed: search.nearest_exemplars(
    embed(problems), embed(pool), NUM_EXEMPLARS, usable
  )
  noise = jax.random.normal(jax.random.key(seed), (num_problems, POOL_SIZE))
  some = jax.lax.top_k(jnp.where(usable, noise, -jnp.inf), NUM_EXEMPLARS)[1]
  shown = dict.fromkeys(ARMS, nearest(count_tokens))
  shown |= {'random': some, 'near by hidden states': nearest(hidden_states)}
  right, tokens = {}, {}
  for arm in ARMS:
    texts = [
      few_shot([pool[i] for i in row], arm.endswith('exchanged'), item)
      for row, item in zip(np.asarray(shown[arm]), problems, strict=True)
    ]
    prompts = [tokenizer.prompt(text) for text in texts]
    tokens[arm] = np.array([len(ids) for ids in prompts])
    prompt = pad(prompts, PROMPT_LENGTH)
    said = jax.device_get(decode(load().params, prompt))
    right[arm] = np.array(
      [
        text_task.cut(tokenizer.decode(ids.tolist()), ['\n']).strip()
        == item.answer
        for ids, item in zip(said, problems, strict=True)
      ],
      np.float32,
    )
  return {'right': right, 'tokens': tokens}


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
  tokenizer, size = load_tokenizer(), load().model.vocab_size
  counts = [
    np.bincount(tokenizer.encode(item.question), minlength=size)
    for item in items
  ]
  return jnp.asarray(np.stack(counts), jnp.float32)


def hidden_states(items):
  """The mean of the last layer's states over a question."""
  ids = [load_tokenizer().encode(item.question) for item in items]
  return mean_states(load().params, pad(ids, QUESTION_LENGTH))


@jax.jit
def mean_states(params, prompt):
  """Mean over the tokens of each prompt."""
  zeros = jnp.zeros_like(prompt.lengths)
  states, _ = load().model.features(
    params,
    prompt.tokens[:, None],
    prompt.lengths[:, None],
    models.Cache(None, zeros, None, zeros[:, None]),
  )
  inside = jnp.arange(QUESTION_LENGTH) < prompt.lengths[:, None]
  total = jnp.sum(jnp.where(inside[..., None], states[:, 0], 0.0), axis=1)
  return total / prompt.lengths[:, None]


@jax.jit
def decode(params, prompt):
  """The likeliest tokens."""
  model = load().model
  generation = sampling.generate(
    params,
    jax.random.split(jax.random.key(0), prompt.lengths.size),
    prompt,
    1,
    model=model,
    capacity=MAX_NEW_TOKENS,
    stop=sampling.stop_at_texts(load_tokenizer(), model.vocab_size, ['\n']),
    sampling=sampling.SamplingParams(temperature=0.0),
  )
  return generation.tokens[:, 0]


def derive(data):
  """All families, one after another."""
  join = lambda what: {
    arm: np.concatenate([data[name][what][arm] for name in FAMILIES])
    for arm in ARMS
  }
  right, tokens = join('right'), join('tokens')
  return {
    'right': right,
    'tokens': tokens,
    'longer': tokens['near'].mean() / tokens['random'].mean() - 1,
    'gap': difference(right['near'], right['random']),
    'hidden': difference(right['near by hidden states'], right['random']),
    'harm': difference(right['near, answers exchanged'], right['near']),
  }


def figure(data):
  """Greedy accuracy with exemplars of each kind."""
  right = data['right']
  by_family = ', '.join(
    f'{name} {signed(difference(x["near"], x["random"]))}'
    for name, x in ((name, data[name]['right']) for name in FAMILIES)
  )
  return (
    f'random {interval(right["random"])}, near {interval(right["near"])}, '
    f'{signed(data["gap"])} ({by_family}), near by mean hidden states '
    f'{interval(right["near by hidden states"])}, {signed(data["hidden"])}; '
    f'prompts of {data["tokens"]["near"].mean():.0f} tokens, '
    f'{100 * data["longer"]:+.1f}%'
  )


CLAIM = Claim(
  f'medprompt_exemplars (SmolLM2-135M, {", ".join(FAMILIES)}, {NUM_EXEMPLARS} '
  f'of {POOL_SIZE} exemplars by their tokens)',
  '2311.16452',
  'near exemplars beat random ones at equal tokens',
  measure,
  checks=[
    text(figure, lambda d: low(d['gap']) > 0 and abs(d['longer']) < 0.02)
  ],
  controls=[
    text(
      lambda d: (
        'near, with the answers of the exemplars exchanged: '
        f'{interval(d["right"]["near, answers exchanged"])}, '
        f'{signed(d["harm"])}; no exemplar has the numbers of the question in '
        'either order'
      ),
      lambda d: d['harm'].mean < 0,
    )
  ],
  derive=derive,
  because='near sums share digits with the question and not the way to its '
  'answer, and 96 problems leave an error of 5 points: 3 points would take '
  'about 1000',
)
