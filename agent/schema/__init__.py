"""What a run writes down: records of decisions and measurements, kinds of events, names of models."""
