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
# # Agents that learn together
# Train three agents to cover three landmarks, look at them, change the physics
# under their feet. Environment, learner and training are pure functions.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots]'

# %%
SMOKE = True  # False: as long as configs/agents_simple_spread.py
NUM_UPDATES = 60 if SMOKE else 313

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ttc import agents, envs

env = envs.simple_spread(num_agents=3)
print(env.agents, env.observation_shape, env.num_actions)

# %% [markdown]
# ## Train
# The state holds everything: parameters, running environments, the key.

# %%
learner = agents.ippo(
  env, agents.PPO(num_envs=32, num_steps=100, learning_rate=1e-3)
)
start = jax.jit(learner.init)(jax.random.key(0))
returns = []
for state, metrics in agents.train(learner, start, NUM_UPDATES, every=20):
  returns += metrics['episode_return'].tolist()
  params = learner.params(jax.tree.map(jnp.copy, state))

steps = learner.steps_per_update * np.arange(1, len(returns) + 1)
plt.plot(steps, returns)
plt.xlabel('environment steps')
plt.ylabel('return of an episode')
plt.show()

# %% [markdown]
# ## Look
# An episode outside of any compiled loop.

# %%
states = agents.trajectory(
  env, learner.policy, params, jax.random.key(1), max_steps=25
)
frames = [envs.render(env.draw(s, env.default_params), 200) for s in states]
fig, axes = plt.subplots(1, 5, figsize=(12, 3))
for ax, t in zip(axes, range(0, 25, 6), strict=True):
  ax.imshow(frames[t])
  ax.set_title(f'step {t}')
  ax.axis('off')
plt.show()

# %% [markdown]
# ## Other worlds are a vmap
# Damping is an array in `params`: eight worlds, one program.

# %%
damping = jnp.linspace(0.05, 0.75, 8)


def damped(damping):
  """Parameters of the game with another damping."""
  params = env.default_params
  return params._replace(world=params.world._replace(damping=damping))


@jax.jit
def mean_return(damping):
  play = agents.evaluate(
    env,
    learner.policy,
    params,
    jax.random.key(2),
    num_episodes=64,
    max_steps=25,
    env_params=damped(damping),
  )
  return play.returns.mean()


plt.plot(damping, jax.vmap(mean_return)(damping), 'o-')
plt.axvline(0.25, color='#999999', ls=':')
plt.xlabel('damping (trained at the dotted line)')
plt.ylabel('return of an episode')
plt.show()
