"""Code shared by front ends and workers: settings, Redis keys, jobs, headroom's rules."""
