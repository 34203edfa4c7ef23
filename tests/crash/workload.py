"""The experiment that is killed: a few tenths of a second, 4 clients of 360 examples, softmax regression."""

DIGITS = ("experiment=digits_smoke", "rounds=5", "partition.num_clients=4", "training.batch_size=180")
SMALL = (*DIGITS, "privacy.epsilon=null", "privacy.noise_multiplier=1.0", "privacy.accountant=rdp")
