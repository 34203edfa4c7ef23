"""Results in words."""

from collections.abc import Mapping
from typing import Any

from .properties import property_in_words


def in_words(name: str, found: Mapping[str, Any]) -> str:
    """A result in a line."""
    if "property" in found:
        return property_in_words(name, found)
    if "auc" not in found:
        return _recovered(name, found)
    low, high = found["auc_interval"]
    told = [f"{name}: AUC {found['auc']:.3f} [{low:.3f}, {high:.3f}]"]
    for key, rate in (("tpr_at_1pct_fpr", "1 %"), ("tpr_at_0_1pct_fpr", "0.1 %")):
        if found[key] is not None:
            low, high = found[f"{key}_interval"]
            told.append(f"TPR at {rate} FPR {found[key]:.4f} [{low:.4f}, {high:.4f}]")
        else:
            told.append(f"TPR at {rate} FPR not measurable")
    return f"{', '.join(told)}; {found['members']} members, {found['non_members']} non-members"


def _recovered(name: str, found: Mapping[str, Any]) -> str:
    if "psnr" not in found:
        return (
            f"{name}: {found['success']:.3f} of the labels found, {found['baseline']:.3f} by chance; precision "
            f"{found['precision']:.3f}; {found['batches']} batches of {found['batch_size']}"
        )
    low, high = found["success_interval"]
    closeness = f"PSNR {found['psnr']:.1f} dB, nearest other image {found['baseline']:.1f} dB; SSIM {found['ssim']:.3f}"
    share = f"closer than any other image {found['success']:.3f} [{low:.3f}, {high:.3f}]"
    return f"{name}: {closeness}; {share}; {found['images']} images in batches of {found['batch_size']}"
