"""Layers shared by two or more architectures; none of them knows which architecture it serves."""
