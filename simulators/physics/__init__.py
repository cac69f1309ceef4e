"""Physics of the simulated microscope: probe and its wear, oscillator, DART, stage motion, hysteresis loops."""
