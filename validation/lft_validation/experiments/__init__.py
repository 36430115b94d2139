"""The paper's experiments, and what they share."""
