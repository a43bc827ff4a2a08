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
# # Learning without a gradient
# A model reads examples with their labels and gets better at the next one,
# its weights as they are. When does training make such a model, and not one
# that remembers? Train three on 1, 128 and 65 536 tasks and ask each for tasks
# of a data set that it has never seen. Then let a transformer write regressors.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: as long as configs/in_context_templates.py
EASY, STEPS = (300, 700) if SMOKE else (700, 2000)

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from ttc import finetuning, incontext

# %% [markdown]
# ## Tasks made of one data set
# Ten Gaussian templates, seen through a random projection and with permuted
# labels: each pair of these is a task, drawn from its number.

# %%
own = incontext.gaussian_templates(jax.random.key(0))
other = incontext.gaussian_templates(jax.random.key(9))
memory = incontext.fast_weights_memory(width=32)
optimizer = optax.chain(
  optax.clip_by_global_norm(1.0), optax.adamw(3e-3, b2=0.98)
)
step = finetuning.make_train_step(
  functools.partial(incontext.classification_loss, memory), optimizer
)


@jax.jit
def train(num_tasks):
  """On some number of tasks; first most sequences keep their labels."""
  key = jax.random.key(1)
  state = finetuning.init_state(memory.init, optimizer, key)
  for share, num_steps in ((0.9, EASY), (0.0, STEPS - EASY)):
    tasks = incontext.projected_tasks(own, key, num_tasks, unpermuted=share)
    draw = lambda key, tasks=tasks: incontext.draw_sequences(tasks, key, 32, 50)
    state, _ = finetuning.run_steps(step, draw, state, num_steps)
  return state.params


@jax.jit
def accuracy(params, tasks):
  """At each position of 256 sequences."""
  sequences = incontext.draw_sequences(tasks, jax.random.key(2), 256, 50)
  return jnp.mean(incontext.hits(memory, params, sequences), axis=0)


# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True)
for ax, num_tasks in zip(axes, (1, 128, 2**16), strict=True):
  params = train(jnp.int32(num_tasks))
  tasks = incontext.projected_tasks(own, jax.random.key(1), num_tasks)
  ax.plot(accuracy(params, tasks), label='seen tasks')
  ax.plot(accuracy(params, incontext.unseen(tasks)), label='unseen tasks')
  new = incontext.unseen(tasks, other)
  ax.plot(accuracy(params, new), label='unseen data')
  ax.set(title=f'trained on {num_tasks} tasks', xlabel='example')
axes[0].set(ylabel='accuracy', ylim=(0, 1))
axes[0].legend(frameon=False, loc='center right')
plt.show()

# %% [markdown]
# ## A transformer that writes regressors
# Responses are linear, and all their weights lie on one plane of an
# eight-dimensional space. Ridge regression does not know it.

# %%
tasks = incontext.subspace_tasks(jax.random.key(3), 8, 2)
net = incontext.in_context_regressor(8, width=32, num_layers=2, max_length=64)
step = finetuning.make_train_step(
  functools.partial(incontext.regression_loss, net), optimizer
)


def contexts(key):
  """Of 32 tasks, with 2 to 32 examples each."""
  length_key, key = jax.random.split(key)
  lengths = jax.random.randint(length_key, (32,), 2, 33)
  return incontext.draw_contexts(tasks, key, lengths, 32, 16)


@jax.jit
def train_regressor(key):
  """Writes better and better regressors."""
  state = finetuning.init_state(net.init, optimizer, key)
  return finetuning.run_steps(step, contexts, state, 2 * STEPS)[0].params


@jax.jit
def errors(params, length):
  """Mean squared errors: written, the best there is, and ridge."""
  shown = incontext.draw_contexts(
    tasks, jax.random.key(5), jnp.full(256, length), 64, 32
  )
  fits = (
    lambda x, y: incontext.posterior_mean(x, y, tasks.root, tasks.noise),
    incontext.cross_validated_ridge,
  )
  known = [
    incontext.squared_error(
      jax.vmap(fit)(shown.x, shown.y), shown.query_x, shown.query_y
    )
    for fit in fits
  ]
  written = incontext.regression_errors(net, params, shown)
  return jnp.array([error.mean() for error in (written, *known)])


params = train_regressor(jax.random.key(4))
lengths = (2, 4, 8, 16, 32, 64)
by_length = jnp.stack([errors(params, jnp.int32(n)) for n in lengths])
for name, error in zip(('written', 'best', 'ridge'), by_length.T, strict=True):
  plt.plot(lengths, error, 'o-', label=name)
plt.xscale('log', base=2)
plt.xlabel('examples in the context')
plt.ylabel('mean squared error')
plt.legend(frameon=False)
plt.show()
