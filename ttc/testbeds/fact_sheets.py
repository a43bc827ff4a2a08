"""Documents whose every fact is known, questions on them, and models of them.

A document tells the attributes of one invented thing, a sentence for each. The
template generator asks for one attribute and cites its sentence, or, where it
lies, a sentence with other words in it. Models are one small network at several
stages of learning the facts.
"""

import random
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc.benchmarks.yourbench import Question

_VALUES = {
  'colour': ('red', 'green', 'blue', 'yellow', 'violet', 'white'),
  'origin': ('Arlon', 'Belmont', 'Corvo', 'Dunmore', 'Esker', 'Farrow'),
  'weight': ('3 kilograms', '7 kilograms', '12 kilograms', '40 kilograms',
             '85 kilograms', '200 kilograms'),
  'maker': ('the Odell brothers', 'Ines Varga', 'the city guild', 'Tomas Reed',
            'a school of monks', 'Lena Fisk'),
  'use': ('measuring rain', 'grinding seed', 'dyeing wool', 'tuning bells',
          'cutting slate', 'pressing oil'),
}  # fmt: skip
ATTRIBUTES = tuple(_VALUES)
NUM_VALUES = 6
_SENTENCES = {
  'colour': 'Those who have seen the {0} remember that its colour is {1}.',
  'origin': 'According to the oldest records the {0} comes from {1}.',
  'weight': 'When it was last put on a scale the {0} weighed {1}.',
  'maker': 'Most historians agree that the {0} was built by {1}.',
  'use': 'For a long time the {0} was mainly used for {1}.',
}
_QUESTIONS = {
  'colour': ('What colour is the {0}?', 'Which colour has the {0}?'),
  'origin': ('Where does the {0} come from?', 'From where is the {0}?'),
  'weight': ('How much does the {0} weigh?', 'What is the weight of the {0}?'),
  'maker': ('Who built the {0}?', 'By whom was the {0} built?'),
  'use': ('What was the {0} used for?', 'What use had the {0}?'),
}
_SYLLABLES = 'bal cor den fim gar hul jor kel lum mor nas pel'.split()
_FILLERS = (
  'perhaps silently never under broken seventeen harbour although winter '
  'copper mostly distant council orange paper window'
).split()


class Facts(NamedTuple):
  """Things and the values of their attributes."""

  names: list[str]
  values: np.ndarray  # [things, attributes], of `NUM_VALUES`


def facts(seed: int, num_things: int) -> Facts:
  """Invented things."""
  rng = random.Random(f'facts/{seed}')
  names: list[str] = []
  while len(names) < num_things:
    name = ''.join(rng.choice(_SYLLABLES) for _ in range(3))
    if name not in names:
      names.append(name)
  values = [[rng.randrange(NUM_VALUES) for _ in ATTRIBUTES] for _ in names]
  return Facts(names, np.array(values, np.int32))


def value(known: Facts, thing: int, attribute: int) -> str:
  """A value in words."""
  return _VALUES[ATTRIBUTES[attribute]][known.values[thing, attribute]]


def sentence(known: Facts, thing: int, attribute: int) -> str:
  """A fact in words."""
  text = _SENTENCES[ATTRIBUTES[attribute]]
  return text.format(known.names[thing], value(known, thing, attribute))


def document(known: Facts, thing: int) -> str:
  """All facts of a thing."""
  return ' '.join(sentence(known, thing, i) for i in range(len(ATTRIBUTES)))


def question(
  known: Facts,
  thing: int,
  attribute: int,
  rng: random.Random,
  edits: float = 0.0,
) -> Question:
  """A question on a fact, with its citation.

  Args:
    known: the facts.
    thing: that is asked about.
    attribute: that is asked for.
    rng: of the wording and of the edits.
    edits: share of the citation's words that are replaced: a false citation.
  """
  words = sentence(known, thing, attribute).split()
  count = round(edits * len(words))
  for i in rng.sample(range(len(words)), count):
    words[i] = rng.choice(_FILLERS)
  text = rng.choice(_QUESTIONS[ATTRIBUTES[attribute]])
  return Question(
    text.format(known.names[thing]),
    value(known, thing, attribute),
    (' '.join(words),),
    (document(known, thing),),
    ATTRIBUTES[attribute],
  )


def learners(
  key: jax.Array, known: Facts, stages: tuple[int, ...]
) -> np.ndarray:
  """Which facts a network knows after so many steps of learning them.

  A thing is an embedding, an attribute selects a layer over it. Facts are seen
  at different rates, as in texts.

  Returns:
    `[stages, things, attributes]`, True where the likeliest value is right.
  """
  things, attributes = known.values.shape
  keys = jax.random.split(key, 4)
  width = 24
  params = {
    'thing': jax.random.normal(keys[0], (things, width)) / width**0.5,
    'layer': jax.random.normal(keys[1], (attributes, width, NUM_VALUES)) / 5,
  }
  often = jax.random.dirichlet(keys[2], jnp.ones(things * attributes) * 0.5)
  truth = jnp.asarray(known.values)
  optimizer = optax.adam(3e-3)
  logits = lambda p: jnp.einsum('td,adv->tav', p['thing'], p['layer'])

  def loss(p, picks):
    log_p = jax.nn.log_softmax(logits(p)).reshape(-1, NUM_VALUES)
    return -log_p[picks, truth.reshape(-1)[picks]].mean()

  @jax.jit
  def step(carry, index):
    p, state = carry
    pick_key = jax.random.fold_in(keys[3], index)
    picks = jax.random.choice(pick_key, often.size, (64,), p=often)
    updates, state = optimizer.update(jax.grad(loss)(p, picks), state)
    return (optax.apply_updates(p, updates), state), None

  carry, done, right = (params, optimizer.init(params)), 0, []
  for stage in stages:
    carry, _ = jax.lax.scan(step, carry, jnp.arange(done, stage))
    done = stage
    right.append(np.asarray(logits(carry[0]).argmax(-1) == truth))
  return np.stack(right)
