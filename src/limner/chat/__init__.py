"""Talking to language models behind OpenAI-compatible endpoints: patience, budgets, and every answer kept."""
