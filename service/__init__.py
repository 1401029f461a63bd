"""The service: how one request is answered, from bytes in to bytes out."""
