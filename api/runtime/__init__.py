"""What keeps a front-end process well: admission, Redis, workers, users' state, tasks."""
