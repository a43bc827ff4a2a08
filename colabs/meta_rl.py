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
# # Policies that find out what their task is
# A robot in the plane is to go to a goal that it is not told; being near pays.
# RL$^2$ gives the policy a memory that lasts for several episodes of a task;
# MAML gives it parameters from which one gradient step leads to the goal.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: as long as the configs
SEARCH_UPDATES = 100 if SMOKE else 300
MAML_UPDATES = 80 if SMOKE else 300

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

from ttc import agents, envs, metarl
from ttc.envs.point_robot import goal_of
from ttc.io.path_plots import Paths, plot_paths

env = envs.point_robot()


def show(tasks, trials, num_episodes, word):
  """Paths in the first four tasks."""
  _, axes = plt.subplots(1, 4, figsize=(11, 2.4), sharex=True, sharey=True)
  for i, ax in enumerate(axes):
    goal = np.asarray(jax.vmap(goal_of)(tasks)[i])
    positions, episode = trials.obs[i, :, 0], trials.episode[i]
    paths = Paths(np.asarray(positions), np.asarray(episode), goal, '')
    plot_paths(ax, paths, num_episodes, word)
  axes[-1].legend(frameon=False, fontsize=8)
  plt.show()


# %% [markdown]
# ## RL$^2$ searches, and remembers
# Rewards are 0 but near the goal. Two episodes of a task are one trial.

# %%
tasks = envs.point_robot_tasks(radius=0.7, reward_radius=0.25)
hyper = agents.PPO(128, 40, learning_rate=3e-3, discount=0.95)
learner = metarl.rl2(env, tasks, num_episodes=2, hyper=hyper)
start = jax.jit(learner.init)(jax.random.key(0))
*_, (state, _) = agents.train(learner, start, SEARCH_UPDATES, SEARCH_UPDATES)

test = metarl.draw_tasks(tasks, jax.random.key(1), 200)
trials = metarl.play_trials(
  env,
  learner.policy,
  learner.params(state),
  jax.random.key(2),
  test,
  2,
  40,
)
returns = metarl.returns_by_episode(trials, 2).mean(axis=0)
best = jax.vmap(envs.point_robot_optimum)(test).mean()
print(f'episodes {returns[0]:.1f} and {returns[1]:.1f}, best {best:.1f}')
show(test, trials, 2, 'episode')

# %% [markdown]
# ## MAML steps towards the goal
# Here rewards are minus the distance. Twenty episodes, one gradient step.

# %%
tasks = envs.point_robot_tasks()
numbers = metarl.PolicyMAML(num_epochs=3, learn_rates=True)
learner = metarl.maml_policy(env, tasks, numbers)
start = jax.jit(learner.init)(jax.random.key(0))
*_, (state, told) = agents.train(learner, start, MAML_UPDATES, MAML_UPDATES)
plt.figure(figsize=(6, 3))
for name in ('return_before', 'return_after'):
  plt.plot(told[name], label=name)
plt.xlabel('updates')
plt.legend(frameon=False)
plt.show()

# %%
test = metarl.draw_tasks(tasks, jax.random.key(1), 4)
played = metarl.adapted_episodes(
  env, state.meta, jax.random.key(2), test, 1, numbers
)
print('before and after the step', played.returns.mean(axis=(0, 2)))
show(test, metarl.rounds_as_trials(played), 2, 'round')

# %% [markdown]
# ## The same, with other tasks
# Everything that differs between tasks is in `params`, so other families are
# one argument away: `point_robot_tasks('velocities')`, `'dynamics'`, bandits,
# levels of grid worlds. `scripts/meta_rl.py` trains several seeds, survives a
# kill and draws curves.
