"""The one training loop, and the machine it runs on."""
