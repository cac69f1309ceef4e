"""Every choice that can be made beforehand: one file for each section of the TOML file."""
