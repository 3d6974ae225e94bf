"""The OpenAI wire: requests in, completions and chunks out."""
