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
# # Rules that are learned
# How should an agent learn that has 5 updates to live, or 200? Train fresh
# agents by rules that evolved on lives of 10 to 100 updates, look at what the
# rules say, and evolve one.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: as long as configs/meta_bandit.py
NUM_GENERATIONS = 40 if SMOKE else 1000

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from ttc import envs, metarl

print(metarl.rule_names())

# %% [markdown]
# ## Live by a rule
# Twenty arms, four pulls an update. The rule knows `n / N` and `log N`.

# %%
env = envs.bandit(num_arms=20)
levels = envs.bandit_tasks(num_arms=20, noise_std=0.3)
agent = metarl.tabular_agent(4, 1, actor_rate=4.0, max_grad_norm=1e6)


def lives(found, horizon, num_lives=128):
  """Regret at the end, and entropy on the way."""
  task = metarl.MetaTask(env, levels, horizon, horizon, agent, 256, 1)

  @jax.jit
  @jax.vmap
  def live(key):
    life = metarl.draw_life(task, key)
    end = metarl.outcome(task, found.rule, found.params, life)
    best = jnp.max(life.env_params.means)
    return best - end.fitness, end.metrics['entropy']

  return live(jax.random.split(jax.random.key(0), num_lives))


rules = {
  'TA-LPG': metarl.load_rule('ta_lpg_bandit'),
  'LPG': metarl.load_rule('lpg_bandit'),
  'A2C': metarl.Discovered(metarl.a2c(), {}, {}),
}
horizons = (5, 10, 30, 100)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
for name, found in rules.items():
  regrets, entropies = zip(*(lives(found, N) for N in horizons), strict=True)
  axes[0].plot(horizons, [x.mean() for x in regrets], 'o-', label=name)
  entropy = entropies[-1].mean(axis=0)
  axes[1].plot(np.arange(len(entropy)) / len(entropy), entropy, label=name)
axes[0].set(xscale='log', xlabel='N', ylabel='regret at the end of life')
axes[1].set(xlabel='n / N, N = 100', ylabel='entropy')
axes[0].legend()
plt.show()

# %% [markdown]
# ## Evolve a rule
# Whole lives are the fitness; both of a pair live the same life.

# %%
rule = metarl.ta_lpg(num_predictions=8, width=16)
task = metarl.MetaTask(env, levels, 10, 100, agent, 256, 1)
strategy = metarl.evolution(
  metarl.final_return(task, rule),
  optax.adam(1e-2),
  num_pairs=16,
  shaping=metarl.z_scores,
)


@jax.jit
def evolve(state):
  return jax.lax.scan(
    lambda state, _: strategy.update(state), state, length=NUM_GENERATIONS
  )


start = strategy.init(rule.init(jax.random.key(1)), jax.random.key(2))
state, fitness = evolve(start)
plt.plot(fitness.mean(axis=(1, 2)))
plt.xlabel('generation')
plt.ylabel('return at the end of life')
plt.show()
