"""Table 1: universal adversarial perturbations of few images, across image sources."""
