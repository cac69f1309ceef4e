"""Rewards score representations: arrays in, scores out."""
