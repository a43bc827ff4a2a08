"""Temporal questions, and a small model that answers and judges them (Timo).

What the base has read: half of the responses to a question work it out, with a
slip in every fifth; half guess, and are right in three of five; some end as
they should not. It has also read judgements of such responses, up to five
points under the rubric for right answers and under that for wrong ones, every
tenth at random. So it can judge itself, as well as it can reckon. An answer
names its option; letters, which have to be looked up in the question, a model
of this size did not learn.
"""

import functools
import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import finetuning, models, sampling, tasks
from ttc.tasks import temporal
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size
from ttc.types import Generation, Params, Prompt

PAD, EOS, LINE = '<pad>', '<eos>', '<line>'
RUBRICS = ('<as_right>', '<as_wrong>')  # what asks for a judgement
FAMILIES = ('clock', 'date', 'weekday')
GENERAL = 'sum'  # not temporal: what must not get worse
CARELESS, LUCK, SLIP, ODD, CRITIC_NOISE = 0.5, 0.6, 0.2, 0.05, 0.1
NUM_SAMPLES, NUM_JUDGEMENTS = 5, 3  # N, and of each response
NUM_ITEMS, NUM_STEPS, BATCH = 30_000, 1500, 32  # of the corpus; of the base
QUESTION_ROOM, ANSWER_ROOM = 36, 32  # words
_LAW = sampling.SamplingParams(temperature=0.8, top_p=0.95)


def sum_(source: random.Random) -> temporal.Question:
  """Adds two numbers."""
  a, b = source.randint(1, 30), source.randint(1, 30)
  return temporal.Question(
    f'What is {a} + {b}?',
    str(a + b),
    [str(a + b + i) for i in (1, -1, 10, 2)],
    [f'{a} + {b} = {a + b}.'],
  )


DRAWS: dict[str, Callable[[random.Random], temporal.Question]] = {
  **{name: temporal.FAMILIES[name] for name in FAMILIES},
  GENERAL: sum_,
}


def draw_items(
  seed: int | str, num: int, families: Sequence[str] = FAMILIES
) -> list[tasks.Item]:
  """Questions, families in turn."""
  source = random.Random(f'temporal_questions/{seed}')
  items = []
  for i in range(num):
    family = families[i % len(families)]
    question = DRAWS[family](source)
    items.append(temporal.make_item(source, question, family, f'{seed}/{i}'))
  return items


def asked(item: tasks.Item) -> list[str]:
  """A question and its options, as the model reads them: without letters."""
  return to_words(f'{item.meta["text"]} {", ".join(item.meta["options"])}.')


def to_words(text: str) -> list[str]:
  """Words, numbers and signs; a line's end is a word."""
  return re.findall(r'<\w+>|\w+|[^\w ]', text.replace('\n', f' {LINE} '))


def to_text(words: Sequence[str]) -> str:
  """Inverts `to_words`, but for the blanks before signs."""
  return re.sub(f' ?{LINE} ?', '\n', ' '.join(words))


@functools.cache
def vocabulary() -> tuple[str, ...]:
  """All words that questions and responses are made of."""
  items = draw_items('words', 400, tuple(DRAWS))
  seen = {
    word
    for item in items
    for word in (
      *asked(item),
      *to_words(respond(item.meta['working'], gold(item))),
    )
  }
  numbers = {str(i) for i in range(100)} | {f'{i:02}' for i in range(10)}
  names = {*temporal.DAYS, *temporal.MONTHS, *temporal.CITIES, *temporal.EVENTS}
  rest = sorted(seen | numbers | names)
  first = (PAD, EOS, LINE, *RUBRICS)
  return (*first, *(word for word in rest if word not in first))


@functools.cache
def config() -> models.TransformerConfig:
  """Two layers of 64."""
  return models.TransformerConfig(
    vocab_size=len(vocabulary()),
    num_layers=2,
    embed_dim=64,
    mlp_dim=192,
    num_heads=4,
    num_kv_heads=4,
    head_dim=16,
    max_length=QUESTION_ROOM + ANSWER_ROOM + 2,
    many_rows=True,
  )


def gold(item: tasks.Item) -> str:
  """The right option itself."""
  return item.meta['options'][temporal.LETTERS.index(item.answer)]


def respond(working: Sequence[str], choice: str) -> str:
  """A response that names the option it chooses."""
  return '\n'.join([' '.join(working), f'The answer is ({choice}).']).strip()


def imitate(source: random.Random, item: tasks.Item) -> str:
  """A response as the corpus has it; not always right."""
  working, choice = to_words(' '.join(item.meta['working'])), gold(item)
  wrong = [x for x in item.meta['options'] if x != choice]
  if source.random() < CARELESS:
    working = []
    choice = choice if source.random() < LUCK else source.choice(wrong)
  elif source.random() < SLIP:
    at = source.choice([i for i, x in enumerate(working) if x.isalnum()])
    same = str.isdigit if working[at].isdigit() else str.isalpha
    others = [x for x in asked(item) if same(x)]
    working[at] = source.choice(others)
    choice = source.choice(wrong)
  said = respond(working, choice)
  if source.random() < ODD:
    twice = f'{said}\n{respond((), choice)}'
    said = source.choice((' '.join(working), twice))
  return said


def chosen(item: tasks.Item, response: str) -> str | None:
  """The option that a response chooses, if it answers as it should."""
  return finetuning.answer_choice(response, item.meta['options'])


def points(item: tasks.Item, response: str) -> tuple[int, int]:
  """What the rubrics give, who knows the answer: as right, and as wrong."""
  choice = chosen(item, response)
  said, _, _ = response.rpartition('\n')
  said, known = to_words(said), to_words(' '.join(item.meta['working']))
  same = sum(a == b for a, b in zip(said, known, strict=False))
  share = same / max(len(said), len(known))
  is_answer, works = choice is not None, len(said) > 0
  right = [is_answer, works, share > 0.6, share == 1, choice == gold(item)]
  wrong = [is_answer, works, share > 0.3, share > 0.6, share > 0.8]
  return sum(right), sum(wrong)


def corpus(seed: int, num: int) -> tuple[np.ndarray, np.ndarray]:
  """Rows of words, and which are to be learned: responses, judgements."""
  source = random.Random(f'temporal_questions/corpus/{seed}')
  families = (*FAMILIES, GENERAL)
  ids = {word: i for i, word in enumerate(vocabulary())}
  tokens = np.zeros((num, config().max_length), np.int32)
  learned = np.zeros(tokens.shape, bool)
  for i, item in enumerate(draw_items(seed, num, families)):
    said = imitate(source, item)
    kind, first = source.randrange(6), asked(item)
    if kind > 1:
      answer = [LINE, *to_words(said), EOS]
    else:
      first += [LINE, *to_words(said), RUBRICS[kind]]
      score = points(item, said)[kind]
      if source.random() < CRITIC_NOISE:
        score = source.randrange(finetuning.MOST_POINTS + 1)
      answer = [str(score)]
    row = [ids[word] for word in (*first, *answer)]
    tokens[i, : len(row)] = row
    learned[i, len(first) : len(row)] = True
  return tokens, learned


def base(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model that answers and judges."""
  rows = functools.cache(lambda: corpus(seed, NUM_ITEMS))

  def batch_fn(key):
    tokens, learned = map(jnp.asarray, rows())
    at = jax.random.randint(key, (32,), 0, NUM_ITEMS)
    return tokens[at], learned[at]

  recipe = Recipe((size.steps(NUM_STEPS),), learning_rate=3e-3)
  return trained_transformer(
    'temporal_questions', config(), recipe, [batch_fn], seed, cache
  )


class Answers(NamedTuple):
  """`N` responses to each of `P` questions."""

  prompt: Prompt
  responses: Generation
  texts: list[list[str]]
  is_right: np.ndarray  # [P, N]; by the option that they name
  is_wrong: np.ndarray  # [P, N]; another option: some name none


def answer(
  params: Params, key: jax.Array, items: list[tasks.Item], num: int
) -> Answers:
  """Draws responses of a model of this bed; the key is consumed."""
  prompt = _to_prompt([asked(item) for item in items])
  keys = jax.random.split(key, len(items))
  responses = _generate(params, keys, prompt, num, ANSWER_ROOM)
  words, tokens = vocabulary(), np.asarray(responses.tokens)
  lengths = np.asarray(responses.lengths)
  texts = [
    [
      to_text([words[t] for t in row[:n] if words[t] != EOS]).strip()
      for row, n in zip(rows, ends, strict=True)
    ]
    for rows, ends in zip(tokens, lengths, strict=True)
  ]
  named = [
    [chosen(item, text) for text in row]
    for item, row in zip(items, texts, strict=True)
  ]
  right = np.array([[gold(item)] for item in items])
  choices = np.array([[choice or '' for choice in row] for row in named])
  return Answers(
    prompt,
    responses,
    texts,
    choices == right,
    (choices != right) & (choices != ''),
  )


def judge(
  params: Params, key: jax.Array, items: list[tasks.Item], answers: Answers
) -> tuple[jax.Array, jax.Array]:
  """Mean points that the model gives its responses, as right and as wrong."""
  found = []
  for i, rubric in enumerate(RUBRICS):
    rows = [
      [*asked(item), LINE, *to_words(text), rubric]
      for item, row in zip(items, answers.texts, strict=True)
      for text in row
    ]
    keys = jax.random.split(jax.random.fold_in(key, i), len(rows))
    said = _generate(params, keys, _to_prompt(rows), NUM_JUDGEMENTS, 1)
    points_of = jnp.array(
      [float(x) if x.isdigit() else jnp.nan for x in vocabulary()]
    )
    scores = finetuning.mean_score(points_of[said.tokens[..., 0]])
    found.append(scores.reshape(answers.is_right.shape))
  return found[0], found[1]


def true_points(
  items: list[tasks.Item], answers: Answers
) -> tuple[np.ndarray, np.ndarray]:
  """What a critic that knows the answers gives them."""
  given = np.array(
    [
      [points(item, text) for text in row]
      for item, row in zip(items, answers.texts, strict=True)
    ],
    np.float32,
  )
  return given[..., 0], given[..., 1]


@functools.partial(jax.jit, static_argnums=3)
def prefer(
  params: Params,
  key: jax.Array,
  pairs: finetuning.Preferences,
  num_steps: int,
  learning_rate: float = 3e-4,
  beta: float = 0.1,
) -> tuple[Params, dict[str, jax.Array]]:
  """DPO from a base on pairs, a random `BATCH` of them a step."""
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(learning_rate)
  )
  update = finetuning.make_dpo_update(
    models.transformer(config()), optimizer, beta=beta
  )
  chance = pairs.weights

  def step(state, key):
    at = jax.random.choice(key, chance.size, (BATCH,), p=chance)
    batch = jax.tree.map(lambda x: x[at], pairs)
    batch = batch._replace(weights=jnp.full((BATCH,), 1 / BATCH))
    return update(state, params, batch)

  state = finetuning.init_state(lambda _: params, optimizer, key)
  state, metrics = jax.lax.scan(
    step, state, jax.random.split(state.key, num_steps)
  )
  return state.params, metrics


@functools.partial(jax.jit, static_argnums=3)
def imitate_chosen(
  params: Params,
  key: jax.Array,
  pairs: finetuning.Preferences,
  num_steps: int,
  learning_rate: float = 3e-4,
) -> Params:
  """Cross-entropy of the chosen responses, as many steps of as many."""
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(learning_rate)
  )
  model = models.transformer(config())

  def loss_fn(params, batch):
    log_probs = finetuning.response_log_probs(
      model, params, batch.prompt, batch.tokens[:, :1]
    )
    counts = batch.mask[:, :1]
    return -jnp.sum(jnp.where(counts, log_probs, 0.0)) / jnp.sum(counts)

  train_step = finetuning.make_train_step(loss_fn, optimizer)

  def batch_fn(key):
    at = jax.random.choice(key, pairs.weights.size, (BATCH,), p=pairs.weights)
    return jax.tree.map(lambda x: x[at], pairs)

  state = finetuning.init_state(lambda _: params, optimizer, key)
  state, _ = finetuning.run_steps(train_step, batch_fn, state, num_steps)
  return state.params


@functools.partial(jax.jit, static_argnums=(3, 4))
def _generate(params, keys, prompt, num, capacity):
  return sampling.generate(
    params,
    keys,
    prompt,
    num,
    model=models.transformer(config()),
    capacity=capacity,
    stop=sampling.stop_rules(len(vocabulary()), [vocabulary().index(EOS)]),
    sampling=_LAW,
  )


def _to_prompt(rows):
  """Rows of words, padded to the room there is."""
  ids = {word: i for i, word in enumerate(vocabulary())}
  room = QUESTION_ROOM
  if max(map(len, rows)) > room:
    room += ANSWER_ROOM + 2
  tokens = np.zeros((len(rows), room), np.int32)
  for place, row in zip(tokens, rows, strict=True):
    place[: len(row)] = [ids[word] for word in row]
  return Prompt(jnp.array(tokens), jnp.array([len(r) for r in rows], jnp.int32))
