"""Many files: which becomes which, and the doing of it."""
