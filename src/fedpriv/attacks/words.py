"""Results in words."""

from collections.abc import Mapping
from typing import Any


def in_words(name: str, found: Mapping[str, Any]) -> str:
    """A result, as in ``run.json``, in a line."""
    if "attackers" in found:
        return f"{name}: {_integrity(found)}"
    if "property" in found:
        return f"{name}: {_told_apart(found, found['property'], of='clients')}"
    if "attribute" in found:
        return f"{name}: {_told_apart(found, found['attribute'], of='records')}"
    if "psnr" in found:
        return f"{name}: {_images(found)}"
    if "precision" in found:
        return f"{name}: {_labels(found)}"
    if "auc" in found:
        return f"{name}: {_membership(found)}"
    return f"{name}: {_toolbox(found)}"


def _membership(found: Mapping[str, Any]) -> str:
    low, high = found["auc_interval"]
    told = [f"AUC {found['auc']:.3f} [{low:.3f}, {high:.3f}]"]
    for key, rate in (("tpr_at_1pct_fpr", "1 %"), ("tpr_at_0_1pct_fpr", "0.1 %")):
        if found[key] is not None:
            low, high = found[f"{key}_interval"]
            told.append(f"TPR at {rate} FPR {found[key]:.4f} [{low:.4f}, {high:.4f}]")
        else:
            told.append(f"TPR at {rate} FPR not measurable")
    return f"{', '.join(told)}; {found['members']} members, {found['non_members']} non-members"


def _told_apart(found: Mapping[str, Any], what: str, *, of: str) -> str:
    if found["success"] is None:
        return f"{what}: not measurable, as the {of} seen all have it, or none has it"
    low, high = found["success_interval"]
    least, most = found["control_interval"]
    return (
        f"{what}: right in {found['success']:.3f} [{low:.3f}, {high:.3f}] (balanced; 0.5 is chance, learned from "
        f"shuffled answers {found['control']:.3f} [{least:.3f}, {most:.3f}]), accuracy {found['accuracy']:.3f}, of "
        f"the better constant guess {found['baseline']:.3f}, AUC {found['auc']:.3f}; {found[f'{of}_with']} {of} "
        f"with it, {found[f'{of}_without']} without"
    )


def _images(found: Mapping[str, Any]) -> str:
    low, high = found["success_interval"]
    closeness = f"PSNR {found['psnr']:.1f} dB, nearest other image {found['baseline']:.1f} dB; SSIM {found['ssim']:.3f}"
    share = f"closer than any other image {found['success']:.3f} [{low:.3f}, {high:.3f}]"
    return f"{closeness}; {share}; {found['images']} images in batches of {found['batch_size']}"


def _labels(found: Mapping[str, Any]) -> str:
    return (
        f"{found['success']:.3f} of the labels found, {found['baseline']:.3f} by chance; precision "
        f"{found['precision']:.3f}; {found['batches']} batches of {found['batch_size']}"
    )


def _integrity(found: Mapping[str, Any]) -> str:
    if found["success"] is None:
        return "no test example tells whether it succeeds"
    return (
        f"success {found['success']:.3f}, {found['baseline']:.3f} without the attack; test accuracy "
        f"{found['accuracy']:.3f}, {found['baseline_accuracy']:.3f} without; {len(found['attackers'])} of "
        f"{found['clients']} clients"
    )


def _toolbox(found: Mapping[str, Any]) -> str:
    success, baseline = ("not measurable" if found[key] is None else f"{found[key]:.3f}" for key in _SHARES)
    return (
        f"success {success}, {baseline} without; test accuracy {found['accuracy']:.3f}, "
        f"{found['baseline_accuracy']:.3f} without; {found['shown']} examples"
    )


_SHARES = ("success", "baseline")
