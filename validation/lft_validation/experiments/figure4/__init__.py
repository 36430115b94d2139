"""Figure 4: few-shot sine regression, first order and zeroth order."""
