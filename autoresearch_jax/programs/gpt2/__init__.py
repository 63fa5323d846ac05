"""GPT-2 as nanoGPT and llm.c train it, for the presets that reproduce them."""
