"""The verbs of the command line; nothing heavy is imported here."""

from __future__ import annotations

from jaxhead.app import verb_flags
from jaxhead.app.flags import Verb

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "capture",
            "measure a video of a head: frames, mesh, pose, expression, masks, sound",
            "VIDEO|FOLDER --out CAPTURE [flags]",
            (
                "jaxhead capture talk.mp4 --check",
                "jaxhead capture talk.mp4 --out talk --size 256",
                "jaxhead capture talk.mp4 --out talk --head flame:flame/generic_model.pkl",
                "jaxhead capture talk.mp4 --out talk --head flame:flame.pkl --start deca",
                "jaxhead capture videos --out captures --jobs 2  # each; again: what is left",
                "jaxhead capture marcel --from insta --out captured  # another program's data",
                "jaxhead capture May --from radnerf --out may",
                "jaxhead capture talk --export insta --out talk_insta  # a capture for others",
            ),
            "jaxhead.app.capture",
            verb_flags.define_capture,
            ("VIDEO|FOLDER",),
        ),
        Verb(
            "synthesize",
            "make a capture of a procedural head, with the truth beside it",
            "--out CAPTURE [flags]",
            ("jaxhead synthesize --out head --frames 250 --size 128",),
            "jaxhead.app.synthesize",
            verb_flags.define_synthesize,
            (),
        ),
        Verb(
            "train",
            "train a system on a capture, or on several at once; resumes runs that exist",
            "SYSTEM [CAPTURE ...] --out RUN [flags]",
            (
                "jaxhead train avatar talk --out run --minutes 10",
                "jaxhead train avatar talk --out run --steps 6000 --set field.levels=12",
                "jaxhead train adnerf talk --out run --preset fast --minutes 5",
                "jaxhead train avatar --out run  # goes on with the run's own capture",
                "jaxhead train avatar ann bob --out people  # runs people/ann and people/bob",
                "srun jaxhead train avatar talk --out run --distributed  # see experiments/launch",
            ),
            "jaxhead.app.train",
            verb_flags.define_train,
            ("SYSTEM", "[CAPTURE...]"),
        ),
        Verb(
            "render",
            "render a run: held-out frames, other views, expressions, poses, backgrounds",
            "RUN --out OUT.mp4 [flags]",
            (
                "jaxhead render run --out heldout.mp4 --side-by-side",
                "jaxhead render run --out turn.mp4 --view -20,5 --background white",
                "jaxhead render run --out orbit.mp4 --orbit 25 --split all",
                "jaxhead render run --out driven.mp4 --expression-from other",
                "jaxhead render run --out said.mp4 --audio speech.wav --pose-from talk  # adnerf",
                "jaxhead render run --out cutout/ --background transparent --meshes meshes",
            ),
            "jaxhead.app.render",
            verb_flags.define_render,
            ("RUN",),
        ),
        Verb(
            "evaluate",
            "score a run on its held-out frames, beside simple baselines",
            "RUN [flags]",
            (
                "jaxhead evaluate run",
                "jaxhead evaluate run --json scores.json",
                "jaxhead evaluate run --list",
            ),
            "jaxhead.app.evaluate",
            verb_flags.define_evaluate,
            ("RUN",),
        ),
        Verb(
            "convert",
            "make a run of a published checkpoint, which renders and whose training goes on",
            "SYSTEM CHECKPOINT... --capture CAPTURE --out RUN [flags]",
            (
                "jaxhead convert adnerf 300000_head.tar 600000_body.tar --capture obama --out run",
                "jaxhead convert avatar ngp_ep0010.pth --capture marcel --out run  # INSTA's port",
            ),
            "jaxhead.app.convert",
            verb_flags.define_convert,
            ("SYSTEM", "CHECKPOINT..."),
        ),
    )
}
