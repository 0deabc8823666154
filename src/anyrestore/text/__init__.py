"""Words: what a person asks for, as a vector for a network and as a task; nothing here sees a picture."""
