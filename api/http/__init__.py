"""Handling of all requests: authentication, headers, encodings, the OpenAPI document."""
