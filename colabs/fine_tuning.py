# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tuning by a reward of your own
# Teach a small transformer the game of countdown from solved examples, then let
# GRPO change how it plays: reach the target, and do without multiplication.
# Rollouts, loss and update are pure functions.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: a better player, in about five minutes on a CPU
NUM_STEPS, NUM_UPDATES = (300, 40) if SMOKE else (3000, 200)

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from ttc import finetuning, models, sampling, tasks

task = tasks.countdown(num_numbers=3, max_number=9, max_value=30)
train_task = tasks.on_split(task, 'train')
problem = task.generate(jax.random.key(0))
print(task.to_text(problem.prompt), '->', task.to_text(problem.trace))

# %% [markdown]
# ## A player that imitates
# Traces are random derivations, so many problems have other solutions too.

# %%
model = models.transformer(
  models.TransformerConfig(
    vocab_size=task.vocab_size,
    num_layers=2,
    embed_dim=64,
    mlp_dim=176,
    num_heads=4,
    num_kv_heads=4,
    head_dim=16,
    max_length=task.prompt_length + task.response_length,
  )
)


def traces(key):
  draw = lambda key: tasks.training_sequence(train_task.generate(key))
  return jax.vmap(draw)(jax.random.split(key, 64))


optimizer = optax.adamw(3e-3)
step = finetuning.make_train_step(
  lambda params, batch: finetuning.next_token_loss(
    model, params, batch.tokens, batch.is_trace
  ),
  optimizer,
)
start = finetuning.init_state(model.init, optimizer, jax.random.key(0))
for state, metrics in finetuning.train(step, traces, start, NUM_STEPS):
  print(f'step {int(state.step)}: loss {float(metrics["loss"][-1]):.2f}')
base = jax.tree.map(jnp.copy, state.params)

# %% [markdown]
# ## The reward
# Any function of problems and responses. One for the target, by the exact
# verifier, and a half less for each multiplication.

# %%
TIMES = task.words.index('*')


def reward(problems, prompt, responses):
  reached = tasks.score_fn(task, problems)(prompt, responses)
  return reached - 0.5 * jnp.sum(responses.tokens == TIMES, axis=-1)


# %% [markdown]
# ## GRPO
# Eight responses to each of sixteen prompts; what is better than its group is
# made more likely. `finetuning.RLOO` or `finetuning.DAPO` do it their way.

# %%
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
update = finetuning.make_policy_update(model, optimizer, finetuning.GRPO)
roll_out = functools.partial(
  finetuning.roll_out,
  group_size=8,
  model=model,
  capacity=task.response_length,
  stop=sampling.stop_rules(task.vocab_size, [task.eos_id]),
)


@jax.jit
def learn(state, key):
  keys = jax.random.split(key, 16)
  problems = jax.vmap(train_task.generate)(keys)
  rollout = roll_out(
    state.params,
    keys,
    tasks.to_prompt(problems),
    functools.partial(reward, problems),
  )
  state, metrics = update(state, None, rollout)
  times = jnp.mean(jnp.sum(rollout.responses.tokens == TIMES, axis=-1))
  return state, metrics | {'times': times}


state = finetuning.init_state(lambda key: base, optimizer, jax.random.key(1))
history = []
for i in range(NUM_UPDATES):
  state, metrics = learn(state, jax.random.key(i))
  history.append(metrics)

for name, label in (('reward', 'reward'), ('times', 'multiplications')):
  plt.plot([float(metrics[name]) for metrics in history], label=label)
plt.xlabel('updates')
plt.ylabel('mean of a response')
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Before and after
# On problems that neither training has seen.

# %%
test_task = tasks.on_split(task, 'test')


@jax.jit
def play(params, key):
  keys = jax.random.split(key, 256)
  problems = jax.vmap(test_task.generate)(keys)
  prompt = tasks.to_prompt(problems)
  rollout = roll_out(params, keys, prompt, tasks.score_fn(task, problems))
  times = jnp.sum(rollout.responses.tokens == TIMES, axis=-1)
  return rollout, times


for name, params in (('before', base), ('after', state.params)):
  rollout, times = play(params, jax.random.key(7))
  tokens = rollout.responses.tokens[0, 0, : rollout.responses.lengths[0, 0]]
  print(
    f'{name}: target reached {float(rollout.rewards.mean()):.2f}, '
    f'multiplications {float(times.mean()):.2f};',
    task.to_text(rollout.prompt.tokens[0]),
    '->',
    task.to_text(tokens),
  )

# %% [markdown]
# The same with checkpoints, curves and a model that transformers loads is
# `scripts/finetune.py`; adapters are `finetuning.init_lora` and `apply_lora`.
