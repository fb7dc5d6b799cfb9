"""What runs beside the model. Standard library, numpy and the framework only; CPython 3.9; copied into each job."""
