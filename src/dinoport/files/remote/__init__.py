"""Bytes at an address: ranges of a web server, the Hub, stores."""
