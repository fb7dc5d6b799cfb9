"""numdev: find out why the same model gives different numbers, and separate software from hardware."""

__version__ = "0.1.0"
