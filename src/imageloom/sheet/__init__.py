"""Pages for people that are one file each, need no network, and look alike."""
