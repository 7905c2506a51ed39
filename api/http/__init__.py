"""What every request has in common: who may ask, headers, encodings, the OpenAPI document."""
