"""Losses against the goldens of the flagship system."""

import jax.numpy as jnp
from goldens_reader import known_goldens

from jaxhead.losses.cosine import cosine_similarity, semantic_prior
from jaxhead.losses.huber import huber
from jaxhead.losses.ranking import depth_ranking
from jaxhead.losses.reduction import total_loss
from jaxhead.losses.smoothness import depth_smoothness


def test_goldens(goldens):
    for golden in known_goldens(goldens, module="colour, depth, semantic losses"):
        inputs, delta = golden.inputs, golden.config["delta"]
        rendered, real = inputs["rendered"], inputs["real"]
        color = huber(rendered, real, delta=delta)
        golden.compare("huber", color)
        golden.compare("huber_mean", jnp.mean(color))
        for scaling in ("torch-port", "instant-ngp"):
            values = huber(rendered, real, delta=delta, scaling=scaling)
            golden.compare(f"huber_{scaling.replace('-', '_')}", values)

        ranks = depth_ranking(inputs["depth"], inputs["pairs"], inputs["order"])
        golden.compare("rank_per_pair", ranks)
        golden.compare("rank_mean", jnp.mean(ranks))
        golden.compare("smooth", depth_smoothness(inputs["depth_map"]))
        edge_aware = depth_smoothness(inputs["depth_map"], inputs["image"])
        golden.compare("smooth_edge_aware", edge_aware)

        cosine = cosine_similarity(inputs["code_new"], inputs["code_orig"])
        golden.compare("cosine", cosine)
        prior = semantic_prior(inputs["code_orig"], inputs["pose"])
        golden.compare("prior", prior)
        new = semantic_prior(inputs["code_new"], inputs["pose_new"])
        golden.compare("cosine_prior", cosine_similarity(new, prior))

        terms = {"color": jnp.mean(color), "semantic": jnp.mean(1 - cosine)}
        terms["depth"] = jnp.mean(ranks)
        golden.compare("total", total_loss(terms, golden.config["weights"]))
