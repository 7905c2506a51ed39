"""What front end and workers share: settings, keys, the job's form, headroom's rules."""
