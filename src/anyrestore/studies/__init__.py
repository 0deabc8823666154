"""Controlled studies: matched variants of one network, trained alike, compared image by image."""
