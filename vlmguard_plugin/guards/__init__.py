"""The guards: one file a method; what they share is in `core`."""
