"""Few-shot classification with different architectures: Tables 2, A1 and A2, Figure 3."""
