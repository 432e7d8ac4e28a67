"""What the product costs, as ratios against the barest thing that does the same job. Never asserted: machines are noisy."""
