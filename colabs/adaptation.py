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
# # A method of one's own, on a stream of shifted images
# A classifier meets images that its training did not have: noise, fog, no
# contrast. Nobody labels them. What can it still learn from them? Run three
# methods along one stream, then write a fourth in ten lines.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: real Fashion-MNIST, four epochs
DATASET, EPOCHS = ('painted', 2.0) if SMOKE else ('fashion_mnist', 4.0)

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ttc import adaptation, evaluation
from ttc.adaptation import Adapter, Prediction, Source, protocols
from ttc.testbeds import image_classifiers

# %% [markdown]
# ## A source network
# Trained on clean images, mirrored and nothing else; kept for the next time.

# %%
recipe = image_classifiers.ClassifierRecipe(DATASET, num_epochs=EPOCHS)
cache = image_classifiers.default_cache()
variables = image_classifiers.trained_classifier(recipe, 0, cache)
network = recipe.network
train = image_classifiers.read(DATASET, 'train')
source = Source(
  variables,
  protocols.to_unit(image_classifiers.grey(train)[:500]),
  jnp.asarray(train.labels[:500]),
)

# %% [markdown]
# ## A stream
# Three corruptions, one after the other, without a word between them. The
# schedule says which image comes when; labels stay apart from it.

# %%
names = ('gaussian_noise', 'contrast', 'brightness')
test = image_classifiers.read(DATASET, 'test')
pixels, labels = image_classifiers.grey(test)[:600], test.labels[:600]
shifts = [(name, 5) for name in names]
images = image_classifiers.corrupted(pixels, shifts, 'small', 0, cache)
order = functools.partial(protocols.shuffled, num_items=len(labels))
schedule = protocols.continual(jax.random.key(0), order, len(names), 50)
stream, wanted = protocols.gather(images, labels, schedule)

fig, axes = plt.subplots(1, len(names), figsize=(6, 2))
for ax, name, image in zip(axes, names, images[:, 0], strict=True):
  ax.imshow(image[..., 0], cmap='gray', vmin=0, vmax=255)
  ax.set_title(name)
  ax.set_axis_off()
plt.show()


# %% [markdown]
# ## Ten lines
# A method is a pair of functions: what it starts from, and what it says of a
# batch. Moments of a batch are noisy, those of the source are wrong: average
# them along the stream, so that they follow the shift and forget it again.


# %%
def running_moments(network, momentum=0.5) -> Adapter:
  """Normalises with moments that follow the stream."""

  def update(variables, batch, key):
    now = network.apply(variables, batch.images, 'batch', batch.mask)
    follow = lambda old, new: momentum * old + (1 - momentum) * new
    stats = jax.tree.map(follow, variables['batch_stats'], now.moments)
    variables = {**variables, 'batch_stats': stats}
    seen = network.apply(variables, batch.images)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    return Prediction(
      seen.logits, seen.features, 2 * count, 0 * count
    ), variables

  return Adapter(lambda source, key: source.variables, update)


# %% [markdown]
# ## All of them on the same stream
# One `scan` each; a sweep of the momentum would be a `vmap`.

# %%
methods = {
  'source': adaptation.source(network),
  'batch_norm': adaptation.batch_norm(network),
  'tent': adaptation.tent(network),
  'running_moments': running_moments(network),
}
errors = {}
for name, method in methods.items():
  state = adaptation.start_stream(method, source, jax.random.key(1))
  run = jax.jit(functools.partial(adaptation.run_stream, method))
  predictions, _ = run(state, stream)
  by_batch = jax.vmap(evaluation.error_rate)(
    predictions.logits, jnp.asarray(wanted), stream.mask
  )
  errors[name] = 100 * np.asarray(by_batch)
  print(f'{name:16} {errors[name].mean():5.1f} % wrong')

# %%
fig, ax = plt.subplots(figsize=(7, 3))
for name, values in errors.items():
  ax.plot(values, label=name)
for start in np.flatnonzero(np.diff(schedule.visits)):
  ax.axvline(start + 0.5, color='#cccccc', linewidth=0.8)
ax.set(xlabel='batch', ylabel='error (%)', ylim=(0, 100))
ax.legend(frameon=False, bbox_to_anchor=(1, 0.5), loc='center left')
plt.show()

# %% [markdown]
# The moments of the batch repair most of what the source gets wrong. Averaged
# ones are as good inside a domain, pay for a while after each change, and would
# survive a batch of one image or of one class, which `batch_norm` does not: try
# `protocols.sorted_by_class` as the order. In a file, the same function runs in
# `scripts/adapt.py --config.methods="('mine.py:running_moments',)"` beside
# every other method, with seeds, intervals and pictures.
