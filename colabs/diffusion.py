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
# # Steering a diffusion model with a verifier of your own
# A small flow model of Fashion-MNIST comes with the package. Write a function
# that says which images you like, choose a search, and look. What counts is how
# often the network is called: all searches below make equally many calls.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: sixteen images instead of four, and more calls
NUM_IMAGES, NUM_SAMPLES = (4, 16) if SMOKE else (16, 64)
NUM_STEPS = 16

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from ttc import diffusion
from ttc.io import sample_pictures
from ttc.testbeds import mixture_diffusion, trained_denoisers

model = trained_denoisers.load_model('fashion_flow_unet')
print(model.about)

# %% [markdown]
# ## Plain samples
# Two of each class, with guidance. The sampler is made inside `jit`, so that
# guidance and noise may change without compiling anew.


# %%
@jax.jit
def draw(params, key, guidance):
  labels = jnp.arange(10)
  keys = diffusion.samplers.particle_keys(key, 10)
  sampler = diffusion.model_sampler(
    model, labels, NUM_STEPS, params=params, guidance=guidance
  )
  return diffusion.samplers.draw(sampler, keys)[..., 0]


def show(images, names=()):
  """Images `[rows, columns, H, W]`, dark on white, rows with names."""
  rows, columns = images.shape[:2]
  plt.figure(figsize=(0.8 * columns + 1, 0.8 * rows))
  page = sample_pictures.page(jax.device_get(images))
  plt.imshow(page, cmap='gray')
  places = [(row + 0.5) * page.shape[0] / rows for row in range(len(names))]
  plt.yticks(places, names)
  plt.xticks([])
  plt.tick_params(length=0)
  plt.box(False)
  plt.tight_layout()
  plt.show()


keys = jax.random.split(jax.random.key(0), 2)
show(jnp.stack([draw(model.params, key, 2.0) for key in keys]))

# %% [markdown]
# ## A verifier
# Higher is better. This one wants stripes: rows that differ from the next row
# and agree along themselves. Change it to whatever you like; it need not be
# differentiable.


# %%
def verifier(images):
  """`[N, 28, 28, 1]` in [-1, 1] -> `[N]`."""
  x = images[..., 0]
  down = jnp.abs(x[:, 1:] - x[:, :-1]).mean(axis=(1, 2))
  along = jnp.abs(x[:, :, 1:] - x[:, :, :-1]).mean(axis=(1, 2))
  return 10 * (down - along)


# %% [markdown]
# ## Searches at equal cost
# Of a pullover. Best-of-N looks at the ends only; the others look at what the
# model predicts on the way, or evolve the noise.

# %%
PULLOVER = jnp.int32(2)
searches = mixture_diffusion.searches(NUM_SAMPLES, NUM_STEPS, strength=10.0)


@functools.partial(jax.jit, static_argnums=0)
def search(name, params, keys):
  make = lambda noise: diffusion.model_sampler(
    model, PULLOVER, NUM_STEPS, params=params, guidance=1.5, noise=noise
  )
  run = lambda key: searches[name](key, make(0.7), make(0.0), verifier)
  return jax.lax.map(run, keys)


keys = jax.random.split(jax.random.key(1), NUM_IMAGES)
best = []
for name in searches:
  found = search(name, model.params, keys)
  diffusion.refuse_nan(found)
  best.append(found.best[..., 0])
  reward = jnp.max(found.rewards, axis=1).mean()
  print(f'{name:12} {int(found.nfe[0]):5d} calls, reward {reward:.2f}')
show(jnp.stack(best), list(searches))

# %% [markdown]
# ## Is it still a pullover?
# A reward that knows nothing of pullovers is served by what is none: look at
# the row of SVDD. On mixtures of Gaussians the density of a result is known
# exactly, and `scripts/diffuse.py` draws it beside the reward.
