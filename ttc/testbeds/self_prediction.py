r"""Chains modulo 97, a solver of known law, and a model that predicts it.

Half of the prompts are chains of 2 to 24 operations whose written values err
with probability .1 each; a quarter are so short that they are nearly sure; in a
quarter an operand is hidden. The solver is frozen and so is replaced by its
closed form: a solution is right with probability

.. math:: p = \frac1{97} + \frac{96}{97} \lambda^L, \quad
    \lambda = 1 - \varepsilon \frac{97}{96}

and writes `L + 1` tokens and a quarter of the values twice. The model reads the
prompt and `META`, and writes two tokens: how many eighths of its solutions are
right, and how long they are, in steps of two tokens. It first imitates
predictions whose numbers were set right, then is rewarded as MASA says.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ttc import finetuning, models, sampling, tasks
from ttc.finetuning import Rollout, masa
from ttc.testbeds.world import Size
from ttc.types import Generation, Params, Prompt

MODULUS, MOST, NOISE, SURE = 97, 24, 0.1, 0.998
G, M, NUM_PROMPTS = 16, 8, 32
REPEATS = 0.25  # share of the values that a solution writes twice
TASK = tasks.modular_chain(MODULUS, MOST, min_length=2)
HIDDEN, META = TASK.vocab_size, TASK.vocab_size + 1
FIRST_PASS = META + 1
FIRST_LENGTH = FIRST_PASS + masa.NUM_BUCKETS + 1
NUM_LENGTHS, LENGTH_STEP = MOST + 1, 2
CONFIG = models.TransformerConfig(
  vocab_size=FIRST_LENGTH + NUM_LENGTHS,
  num_layers=2,
  embed_dim=32,
  mlp_dim=88,
  num_heads=2,
  num_kv_heads=2,
  head_dim=16,
  max_length=64,
  many_rows=True,
)
MODEL = models.transformer(CONFIG)
WARM_UP, NUM_UPDATES = 500, 100


class Question(NamedTuple):
  """A prompt that asks for a prediction, and the solver's law on it."""

  prompt: Prompt  # of one problem
  num_steps: jax.Array  # L
  pass_rate: jax.Array  # p
  is_useful_kind: jax.Array  # one of the chains


def question(key: jax.Array) -> Question:
  """Draws one of the three kinds."""
  keys = jax.random.split(key, 4)
  kind = jax.random.randint(keys[0], (), 0, 4)  # 0, 1: chains; 2: sure
  problem = TASK.generate(keys[1])
  steps = jnp.where(kind == 2, 1, problem.data.num_steps)
  length = jnp.where(kind == 2, 4, problem.prompt_length)
  place = jnp.arange(problem.prompt.size + 1)
  tokens = jnp.append(problem.prompt, 0)
  # x op a = : a chain of one operation is cut from the front of a longer one.
  tokens = jnp.where((kind == 2) & (place == 3), 2, tokens)
  which = 2 + 2 * jax.random.randint(keys[2], (), 0, steps)
  tokens = jnp.where((kind == 3) & (place == which), HIDDEN, tokens)
  tokens = jnp.where(place < length, tokens, 0)
  tokens = jnp.where(place == length, META, tokens)
  chain = tasks.noisy_chain_accuracy(NOISE, steps, MODULUS)
  rate = jnp.where(kind == 2, SURE, jnp.where(kind == 3, 1 / MODULUS, chain))
  return Question(Prompt(tokens, length + 1), steps, rate, kind < 2)


class Solutions(NamedTuple):
  """`G` solutions of each of `P` prompts, as far as rewards ask."""

  is_right: jax.Array
  lengths: jax.Array


def solve(key: jax.Array, questions: Question) -> Solutions:
  """What the frozen solver does."""
  right_key, length_key = jax.random.split(key)
  shape = (*questions.pass_rate.shape, G)
  right = jax.random.bernoulli(right_key, questions.pass_rate[:, None], shape)
  steps = questions.num_steps[:, None]
  written = jnp.arange(MOST) < steps[..., None]
  twice = jax.random.bernoulli(length_key, REPEATS, (*shape, MOST)) & written
  return Solutions(right, steps + 1 + jnp.sum(twice, axis=-1))


class Prediction(NamedTuple):
  """What was predicted; means nothing where it cannot be read."""

  pass_rate: jax.Array
  length: jax.Array
  is_parsed: jax.Array


def read(responses: Generation) -> Prediction:
  """The two tokens of each prediction."""
  eighths = responses.tokens[..., 0] - FIRST_PASS
  bucket = responses.tokens[..., 1] - FIRST_LENGTH
  parsed = (eighths >= 0) & (eighths <= masa.NUM_BUCKETS)
  parsed &= (bucket >= 0) & (bucket < NUM_LENGTHS)
  rate = jnp.clip(eighths, 0, masa.NUM_BUCKETS) / masa.NUM_BUCKETS
  return Prediction(rate, LENGTH_STEP * bucket.astype(jnp.float32), parsed)


def predict(params: Params, key: jax.Array, questions: Question) -> Rollout:
  """`M` predictions for each prompt, not yet rewarded."""
  return finetuning.roll_out(
    params,
    jax.random.split(key, questions.pass_rate.shape[0]),
    questions.prompt,
    lambda _, responses: jnp.zeros(responses.lengths.shape),
    M,
    model=MODEL,
    capacity=2,
    stop=sampling.stop_rules(CONFIG.vocab_size),
  )


def reward(rollout: Rollout, solutions: Solutions) -> jax.Array:
  """Of each prediction, from the solutions alone."""
  made = read(rollout.responses)
  measured = solutions.is_right.mean(axis=-1)
  return masa.meta_reward(
    masa.pass_reward(made.pass_rate, measured[:, None]),
    masa.length_reward(made.length, solutions.lengths, solutions.is_right),
    None,
    made.is_parsed,
  )


def questions(key: jax.Array, num: int) -> Question:
  """A batch of them."""
  return jax.vmap(question)(jax.random.split(key, num))


def trained(seed: int, size: Size) -> tuple[Params, Params, Any]:
  """The model before and after, and the metrics of its updates."""
  return _trained(
    jax.random.key(seed), size.steps(WARM_UP), size.steps(NUM_UPDATES)
  )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _trained(key, warm_up, num_updates):
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
  step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(MODEL, params, *batch),
    optimizer,
  )
  state = finetuning.init_state(MODEL.init, optimizer, key)
  state, _ = finetuning.run_steps(step, set_right, state, warm_up)
  before = state.params
  slow = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-4))
  update = finetuning.make_policy_update(MODEL, slow, finetuning.DR_GRPO)
  state = finetuning.init_state(lambda _: before, slow, state.key)

  def meta_step(state, key):
    asked_key, solve_key, key = jax.random.split(key, 3)
    asked = questions(asked_key, NUM_PROMPTS)
    rollout = predict(state.params, key, asked)
    rewards = reward(rollout, solve(solve_key, asked))
    return update(state, None, rollout._replace(rewards=rewards))

  state, metrics = jax.lax.scan(
    meta_step, state, jax.random.split(state.key, num_updates)
  )
  return before, state.params, metrics


def set_right(key: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Prompts with predictions made of the measured numbers, to imitate."""
  asked_key, key = jax.random.split(key)
  asked = questions(asked_key, 2 * NUM_PROMPTS)
  solutions = solve(key, asked)
  measured = solutions.is_right.mean(axis=-1)
  eighths = FIRST_PASS + jnp.round(masa.NUM_BUCKETS * measured)
  bucket = FIRST_LENGTH + jnp.round(
    solutions.lengths.mean(axis=-1) / LENGTH_STEP
  )
  tokens, length = asked.prompt
  tokens = jnp.pad(tokens, ((0, 0), (0, 2)))
  place = jnp.arange(tokens.shape[1]) - length[:, None]
  tokens = jnp.where(place == 0, eighths[:, None].astype(jnp.int32), tokens)
  tokens = jnp.where(place == 1, bucket[:, None].astype(jnp.int32), tokens)
  return tokens, (place == 0) | (place == 1)


class Race(NamedTuple):
  """Update by update of a solver that learns."""

  accuracy: jax.Array  # on chains, exact
  tokens: jax.Array  # of solutions and predictions so far


@functools.partial(jax.jit, static_argnums=2)
def race(
  params: Params,
  key: jax.Array,
  num_updates: int,
  gate: masa.Gate,
  is_gated: bool = True,
  shift: int = 0,
  learning_rate: float = 20.0,
) -> Race:
  """GRPO of the solver, with prompts skipped by predictions or without.

  The solver is one number: each written value is wrong with probability
  `sigmoid(logit)`, from `NOISE` on. Plain gradient steps, whose denominators do
  not know of the gate, so that a group that is skipped costs what it would have
  brought. Beside it the predictor goes on learning from the solutions that
  there are; short prompts stay sure, and those with a hidden operand hopeless.

  Args:
    params: of the predictor.
    key: random key, consumed.
    num_updates: static.
    gate: when to skip.
    is_gated: whether prompts are skipped, and predictions paid for.
    shift: places by which what the gate says is dealt to other prompts.
    learning_rate: of the solver.
  """
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-4))
  update = finetuning.make_policy_update(MODEL, optimizer, finetuning.DR_GRPO)

  def step(carry, key):
    state, logit, spent = carry
    asked_key, meta_key, solve_key = jax.random.split(key, 3)
    asked = questions(asked_key, NUM_PROMPTS)
    rollout = predict(state.params, meta_key, asked)
    kept = masa.keeps(read(rollout.responses).pass_rate, gate)
    kept = jnp.roll(kept, shift) | ~jnp.asarray(is_gated)
    tried = try_to_solve(solve_key, asked, logit)
    rewards = reward(rollout, tried.solutions)
    state, _ = update(
      state, None, rollout._replace(rewards=rewards), is_filled=kept
    )
    gain = finetuning.advantages(
      tried.solutions.is_right.astype(jnp.float32), finetuning.DR_GRPO
    )
    counted = tried.is_written & kept[:, None, None]
    weights = counted / (NUM_PROMPTS * G * MOST)

    def loss_fn(logit):
      log_probs = jax.nn.log_sigmoid(jnp.where(tried.errs, logit, -logit))
      old = jax.lax.stop_gradient(log_probs)
      return finetuning.policy_gradient_loss(log_probs, old, gain, weights)[0]

    logit = logit - learning_rate * jax.grad(loss_fn)(logit)
    solving = jnp.sum(tried.solutions.lengths * kept[:, None])
    predicting = jnp.where(is_gated, 2 * M * NUM_PROMPTS, 0)
    spent = spent + solving + predicting
    rates = tasks.noisy_chain_accuracy(
      jax.nn.sigmoid(logit), jnp.arange(2, MOST + 1), MODULUS
    )
    return (state, logit, spent), Race(rates.mean(), spent)

  state = finetuning.init_state(lambda _: params, optimizer, key)
  logit = jnp.float32(jnp.log(NOISE / (1 - NOISE)))
  start = state, logit, jnp.int32(0)
  keys = jax.random.split(state.key, num_updates)
  return jax.lax.scan(step, start, keys)[1]


class Tried(NamedTuple):
  """Solutions of a solver that errs at a rate of its own."""

  solutions: Solutions
  errs: jax.Array  # [P, G, L]; which written values are wrong
  is_written: jax.Array


def try_to_solve(key: jax.Array, asked: Question, logit: jax.Array) -> Tried:
  """As `solve`, but each written value of a chain errs by itself.

  A chain is right where its errors, steps by 1 to 96, cancel modulo 97.
  """
  keys = jax.random.split(key, 3)
  known = solve(keys[0], asked)
  shape = (*known.is_right.shape, MOST)
  written = jnp.arange(MOST) < asked.num_steps[:, None, None]
  written = jnp.broadcast_to(written, shape)
  errs = jax.random.bernoulli(keys[1], jax.nn.sigmoid(logit), shape) & written
  by = jax.random.randint(keys[2], shape, 1, MODULUS)
  cancel = jnp.sum(jnp.where(errs, by, 0), axis=-1) % MODULUS == 0
  right = jnp.where(asked.is_useful_kind[:, None], cancel, known.is_right)
  return Tried(Solutions(right, known.lengths), errs, written)
