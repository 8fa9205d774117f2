"""Who names a network: tables, recognition, settings, and how a target is written."""
