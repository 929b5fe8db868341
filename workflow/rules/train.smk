# train: the same command for dense networks and tickets; a ticket shares its dense network's seed and data order
# exec: a signal to the job must reach the training itself, not a shell around it
# rewind: the dense network's weights after an epoch that some ticket starts from


rule train_dense:
    input:
        weights=paths.initial_weights(FOLDERS.network),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "train", "test"))),
    output:
        weights=paths.trained_weights(FOLDERS.dense),
        curve=paths.curve(FOLDERS.dense),
        facts=paths.training_facts(FOLDERS.dense),
    log:
        FOLDERS.log("train", paths.DENSE),
    conda:
        ENVIRONMENT
    threads: BENCHMARK.resources.training_cpus
    params:
        settings=BENCHMARK.recipe_slice,
        folder=subpath(output.facts, parent=True),
        # not an output: it must outlive a failed job
        checkpoint=FOLDERS.checkpoint(paths.DENSE),
        # with `output` among its arguments Snakemake doesn't compare its value
        seconds=lambda wildcards, output: BENCHMARK.resources.checkpoint_seconds,
        kept=FOLDERS.kept(paths.DENSE),
        # not compared either: a rewind added later retrains nothing
        keep=lambda wildcards, output: [word for i in BENCHMARK.kept_epochs(wildcards) for word in ("--keep", i)],
        start_epoch=0,
        revision=STAGES["train"].revision,
    shell:
        "exec layerlottery train --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --seed {wildcards.seed} --output {params.folder:q} --checkpoint {params.checkpoint:q}"
        " --checkpoint-seconds {params.seconds} --start-epoch {params.start_epoch}"
        " --kept {params.kept:q} {params.keep} --threads {threads} --log {log:q}"


use rule train_dense as train_ticket with:
    input:
        weights=paths.initial_weights(FOLDERS.pruned),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "train", "test"))),
    output:
        weights=paths.trained_weights(FOLDERS.pruned),
        curve=paths.curve(FOLDERS.pruned),
        facts=paths.training_facts(FOLDERS.pruned),
    log:
        FOLDERS.log("train", paths.PRUNED),
    params:
        settings=BENCHMARK.recipe_slice,
        folder=subpath(output.facts, parent=True),
        checkpoint=FOLDERS.checkpoint(paths.PRUNED),
        seconds=lambda wildcards, output: BENCHMARK.resources.checkpoint_seconds,
        kept=FOLDERS.kept(paths.PRUNED),
        keep=[],
        start_epoch=lambda wildcards: int(wildcards.rewind) if wildcards.rewind.isdigit() else 0,
        revision=STAGES["train"].revision,


rule rewind:
    input:
        weights=paths.initial_weights(FOLDERS.network),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "train", "test"))),
        # after the dense training, which keeps these weights as it passes them
        trained=paths.trained_weights(FOLDERS.dense),
    output:
        paths.start_file(f"{FOLDERS.results}/{paths.START}"),
    log:
        FOLDERS.log("rewind", paths.START),
    conda:
        ENVIRONMENT
    threads: BENCHMARK.resources.training_cpus
    params:
        settings=BENCHMARK.recipe_slice,
        kept=FOLDERS.kept(paths.DENSE),
        checkpoint=FOLDERS.checkpoint(paths.START),
        seconds=lambda wildcards, output: BENCHMARK.resources.checkpoint_seconds,
        revision=STAGES["rewind"].revision,
    shell:
        "exec layerlottery rewind --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --seed {wildcards.seed} --epoch {wildcards.epoch} --kept {params.kept:q}"
        " --checkpoint {params.checkpoint:q} --checkpoint-seconds {params.seconds}"
        " --output {output:q} --threads {threads} --log {log:q}"
