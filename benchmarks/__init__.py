"""Seconds a round of fedpriv, of a bare PyTorch loop, of Opacus alone and of other simulators, side by side."""
