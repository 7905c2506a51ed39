"""The transparent proxy: clients' requests to the providers, compressed on their way."""
