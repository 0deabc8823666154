"""How knowledge of the degradation enters a network: one idea a file, and none imports another."""
