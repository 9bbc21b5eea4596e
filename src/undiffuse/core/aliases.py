"""Other names of components: what papers, diffusers and k-diffusion call them."""

from collections.abc import Mapping
from typing import Any

ALIASES: dict[str, dict[str, str]] = {  # by kind and component: its other names
    "samplers": {
        "adams": "unipc unipc_multistep deis deis_multistep",
        "ancestral": "ddpm euler_a euler_ancestral euler_ancestral_discrete k_euler_a k_euler_ancestral d3pm",
        "annealed_langevin": "ald langevin ncsn",
        "cached": "ddpm_cache mdlm_cache",
        "corrector": "pc predictor_corrector",
        "euler": "k_euler euler_discrete flow_match_euler flow_match_euler_discrete",
        "euler_maruyama": "em",
        "first_hitting": "fhs",
        "heun": "k_heun heun_discrete edm edm_heun",
        "multistep": (
            "dpm++ dpm_solver++ dpm_solver_multistep dpm++2m dpm_solver++2m k_dpmpp_2m dpm++3m "
            "dpm_solver++3m dpm++2m_sde sde_dpm++2m sde_dpm_solver++ k_dpmpp_2m_sde"
        ),
        "probability_flow": "ode pf_ode probability_flow_ode dopri5 rk45",
        "remask": "remdm",
        "renoise": "consistency cm lcm",
        "unmask": "maskgit",
    },
    "parameterizations": {
        "data": "sample x0 x_start x0_prediction sample_prediction data_prediction",
        "edm": "karras edm_preconditioning",
        "flow": "flow_prediction flow_matching rectified_flow",
        "noise": "epsilon eps epsilon_prediction eps_prediction noise_prediction",
        "score": "score_prediction",
        "velocity": "v v_prediction v_pred velocity_prediction",
    },
    "schedules": {
        "cosine": "squaredcos_cap_v2 squaredcos iddpm",
        "flow": "flow_matching rectified_flow optimal_transport cond_ot",
        "geometric": "ncsn",
        "linear_beta": "linear ddpm",
        "scaled_linear_beta": "scaled_linear stable_diffusion",
        "table": "trained_betas betas",
        "ve": "ve_sde variance_exploding",
        "vp": "vp_sde variance_preserving",
        "subvp": "sub_vp_sde",
        "edm": "karras",
        "sqrt": "diffusion_lm",
    },
    "grids": {"log_snr": "exponential"},
    "objectives": {"denoising": "mse simple dsm denoising_score_matching", "sliced_score_matching": "ssm"},
    "guidance": {"classifier_free": "cfg classifier_free_guidance", "threshold": "dynamic_thresholding"},
    "codecs": {"pixels": "minmax", "whiten": "standardise standardize zscore"},
    "data": {
        "file": "npz npy",
        "folder": "image_folder",
        "hdf5": "h5",
        "huggingface": "hf",
        "shards": "tar webdataset",
        "table": "csv tsv",
    },
    "features": {"efficientnet_lite0": "efficientnet", "inception": "inception_v3"},
    "metrics": {
        "energy_distance": "energy",
        "frechet": "fid frechet_distance",
        "inception_score": "is",
        "kernel": "kid mmd",
        "precision_recall": "precision recall",
        "density_coverage": "density coverage",
        "sliced_wasserstein": "swd",
        "dcr": "closest_record distance_to_closest_record",
        "tstr": "usefulness train_on_synthetic_test_on_real",
    },
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {  # what some of these names say besides
    "samplers": {
        **{name: {"order": 3} for name in ("dpmpp3m", "dpmsolverpp3m")},
        **{name: {"eta": 1.0} for name in ("dpmpp2msde", "sdedpmpp2m", "sdedpmsolverpp", "kdpmpp2msde")},
    }
}


def key(name: str) -> str:
    """What makes two spellings one name: neither case nor `-`, `_` and spaces matter, and `+` is `p`."""
    return name.translate({ord("_"): None, ord("-"): None, ord(" "): None, ord("+"): "p"}).lower()


def others(kind: str, component: str) -> list[str]:
    """The other names of a component, as people write them."""
    return ALIASES.get(kind, {}).get(component, "").split()


def names(kind: str) -> list[str]:
    """All other names of a kind."""
    return [name for component in ALIASES.get(kind, {}) for name in others(kind, component)]


def meant(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """The component of another name, and the fields that the name says; the name itself if it is none."""
    asked = key(name)
    component = next((c for c in ALIASES.get(kind, {}) if asked in map(key, others(kind, c))), name)
    return component, dict(SETTINGS.get(kind, {}).get(asked, {}))


def table(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A component's table with its own name in the place of another one; what the table says goes first."""
    if not isinstance(fields.get("name"), str):
        return dict(fields)
    name, said = meant(kind, fields["name"])
    return {"name": name, **said, **{k: v for k, v in fields.items() if k != "name"}}
