"""One file per architecture; none imports another. Each has its Config, its Model and its PRESETS."""
