"""Bytes: local files, links, addresses and ranges, bounded JSON and YAML, and files that are written."""
