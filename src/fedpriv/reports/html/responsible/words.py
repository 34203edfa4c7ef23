"""The technical words of the panel, as in docs/glossary.md."""

import re
from collections.abc import Iterable, Mapping

WORDS: Mapping[str, str] = {
    "epsilon, delta": "the two numbers of (epsilon, delta)-differential privacy; epsilon is always an upper bound "
    "here.",
    "guarantee": "epsilon and delta with unit, relation, trust model, observer, sampling, accountant, and what is not "
    "covered. None: nothing is claimed.",
    "observer": "against whom a guarantee holds: who sees what.",
    "client": "who holds data: a person, a device, a hospital. Simulated here, by id 0, 1, 2 ...",
    "update": "a client's trained parameters minus the global ones, as one vector.",
    "setting": "runs that differ in their seeds alone.",
    "seed": "the number that all random choices of a run follow from; runs with other seeds tell how much is chance.",
    "95 % interval": "made so that in 95 of 100 such experiments it holds the mean over all seeds (Student's t).",
    "canary": "an example or update planted to measure leakage.",
    "membership inference": "an attack that tells whether an example, or a client, was in the training data.",
    "AUC": "area under the ROC curve: how often an attack ranks a member above a non-member; guessing gets 0.5.",
    "property inference": "an attack that tells whether a client's data have a property, such as many of one kind.",
    "attribute inference": "an attack that tells of a record whose it is, such as of which sex.",
    "balanced accuracy": "mean of the shares that are right among those with a property and those without; "
    "guessing gets 0.5.",
    "reconstruction": "an attack that rebuilds examples from what a client sends.",
    "nearest other image": "the image of the data that is most like the true one, which whoever has data of this kind "
    "could hand over.",
    "PSNR": "peak signal-to-noise ratio, in dB: how like two images are; above 40 an eye hardly sees a difference.",
    "label recovery": "an attack that tells which labels a client's batch has.",
    "malicious clients": "clients that send what serves them, to make the model answer as they want.",
    "attack success": "share of the answers that are as the attacker wants.",
    "sensitive group": "people, or examples, that share a value of a column that the data names, such as a sex.",
    "demographic parity": "its difference: largest minus smallest rate over groups at which class 1 is predicted.",
    "equalised odds": "its difference: the larger of the differences over groups in true and in false positive rates.",
}
"""Word -> meaning."""


def used(texts: Iterable[str]) -> dict[str, str]:
    """Those of the words that the texts have."""
    text = " ".join(texts)
    return {word: meaning for word, meaning in WORDS.items() if _has(text, word)}


def _has(text: str, word: str) -> bool:
    """Whether it, one of several, or more than one of it, is there as a word of its own."""
    return any(re.search(rf"\b{re.escape(part)}s?\b", text, re.IGNORECASE) for part in word.split(", "))
