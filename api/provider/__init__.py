"""The providers' APIs: Anthropic Messages, OpenAI Chat Completions, OpenAI Responses. No HTTP."""
