"""The daemon that watches one cage."""
