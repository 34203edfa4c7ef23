"""Releases by their short names."""

from fedpriv.accounting.sampled_gaussian import SampledGaussian


def poisson(rate: float, noise_multiplier: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sampling="poisson", rate=rate, population=0, cohort=0)


def everybody(noise_multiplier: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sampling="all", rate=1.0, population=0, cohort=0)
