"""What all requests have in common: authentication, headers, encodings, the OpenAPI document."""
