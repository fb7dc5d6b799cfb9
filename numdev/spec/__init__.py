"""What a user declares: matrices, stacks, workloads and the cells that follow from them."""
