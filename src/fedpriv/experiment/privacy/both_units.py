"""``privacy=both_units``: the example-level half, whose clients are drawn by coins that nobody may see."""

from dataclasses import replace

from .choice import Setting


def as_example_level(setting: Setting) -> Setting:
    """The setting as ``privacy=example`` would see it: with the epsilon, delta and noise asked for examples.

    Noise is calibrated to the most participations that are allowed: what tells of coins yet to come would void the
    amplification that the client level is accounted with.
    """
    privacy = setting.config.privacy
    halved = replace(
        privacy,
        mechanism="example",
        epsilon=privacy.example_epsilon,
        delta=privacy.example_delta,
        noise_multiplier=privacy.example_noise_multiplier,
    )
    return replace(setting, config=replace(setting.config, privacy=halved), noise_knows_schedule=False)
