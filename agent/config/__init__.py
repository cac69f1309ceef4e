"""The configuration: one file for each section, or pair of related sections, of the TOML file."""
