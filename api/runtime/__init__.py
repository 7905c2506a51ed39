"""Services of a front-end process: admission, Redis, claims, users' state, background tasks."""
