"""The published recipe as stages: head, head with attention, torso.

    build(config, spec, frozen, feeds) -> (Stage "head", Stage "attention"[, Stage "torso"])

config: `NerfConfig`. spec: has `audio_rows` and `audio_width`, T and C of the audio windows.
frozen: `nerf_feed.frozen_arrays(inputs)`. feeds: `nerf_feed.make_feeds(capture, inputs, config)`,
{"head": Feed, "torso": Feed}, or None where nothing is trained. The arrays of a run
(`inputs.npz`): `nerf_feed.nerf_inputs(capture, config)` and "audio_windows" (N, T, C) float32 of
all the capture's frames.

The variables of any stage render with `nerf_model.render_frame(variables, request, size, config,
attention=stage.name != "head")`; the last stage's hold everything.
"""
