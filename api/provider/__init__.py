"""The providers' shapes: Anthropic Messages, OpenAI Chat Completions, OpenAI Responses. No HTTP."""
