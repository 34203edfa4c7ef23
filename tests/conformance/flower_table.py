"""What fails of Flower 1.41's own differential privacy: what docs/conformance.md shows, and what the tests measure."""

STRATEGIES = "flwr.serverapp.strategy:DifferentialPrivacy"
MODS = "flwr.clientapp.mod:"
_FIXED = {"noise_multiplier": 1.0, "clipping_norm": 1.0, "num_sampled_clients": 10}
_ADAPTIVE = {"noise_multiplier": 0.5, "initial_clipping_norm": 1.0, "num_sampled_clients": 10}

TARGETS = {
    "server, fixed": (STRATEGIES + "ServerSideFixedClipping", _FIXED),
    "client, fixed": (STRATEGIES + "ClientSideFixedClipping", _FIXED),
    "server, adaptive": (STRATEGIES + "ServerSideAdaptiveClipping", _ADAPTIVE),
    "client, adaptive": (STRATEGIES + "ClientSideAdaptiveClipping", _ADAPTIVE),
    "LocalDpMod": (
        MODS + "LocalDpMod",
        {"clipping_norm": 1.0, "sensitivity": 1.0, "epsilon": 1.0, "delta": 1e-5},
    ),
}

_WRAPPERS = {
    "sensitivity_add_remove",
    "sensitivity_zero_out",
    "weighting",
    "denominator",
    "dropouts",
    "empty_cohort",
    "zero_update",
    "nan_update",
    "scalar_parameters",
    "integer_parameters",
}
_FOLLOWING = {"noise_std", "adaptive_clip", "adaptive_noise"}
FAILS = {
    "server, fixed": _WRAPPERS,
    "client, fixed": _WRAPPERS,
    "server, adaptive": _WRAPPERS | _FOLLOWING,
    "client, adaptive": _WRAPPERS | _FOLLOWING,
    "LocalDpMod": {
        "sensitivity_replace",
        "zero_update",
        "nan_update",
        "scalar_parameters",
        "integer_parameters",
        "promised_epsilon",
        "composition",
    },
}
