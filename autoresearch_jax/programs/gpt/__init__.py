"""The GPT program: the baseline of karpathy/autoresearch. `model.py` is what gets rewritten."""
