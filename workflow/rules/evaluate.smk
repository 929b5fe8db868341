# attack (attack_ticket for tickets), shift: one job each per trained network; compare: one per ticket; profile: one per
# dense network with all its tickets


rule attack:
    input:
        weights=paths.trained_weights(FOLDERS.dense),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "test"))),
    output:
        paths.attack(FOLDERS.dense),
    log:
        FOLDERS.log("attack", paths.DENSE),
    conda:
        ENVIRONMENT
    threads: BENCHMARK.resources.evaluation_threads
    params:
        # a function, since Snakemake expands wildcards in plain text, and the user's options may contain braces
        settings=lambda wildcards: BENCHMARK.attack.slice(),
        dense=[],
        # not an output: it must outlive a failed job
        progress=paths.attack_progress(FOLDERS.checkpoint(paths.DENSE)),
        revision=STAGES["attack"].revision,
    shell:
        "layerlottery attack --settings {params.settings:q} --weights {input.weights:q} {params.dense:q}"
        " --data {input.data:q} --progress {params.progress:q} --output {output:q} --threads {threads} --log {log:q}"


# examples that fool the dense network are tried on the ticket
use rule attack as attack_ticket with:
    input:
        weights=paths.trained_weights(FOLDERS.pruned),
        dense=paths.trained_weights(FOLDERS.dense),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "test"))),
    output:
        paths.attack(FOLDERS.pruned),
    log:
        FOLDERS.log("attack", paths.PRUNED),
    params:
        settings=lambda wildcards: BENCHMARK.attack.slice(),
        dense=lambda wildcards, input: ["--dense", input.dense],
        progress=paths.attack_progress(FOLDERS.checkpoint(paths.PRUNED)),
        revision=STAGES["attack"].revision,


rule shift:
    input:
        weights=paths.trained_weights(FOLDERS.run),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "test", "shifted", "held_out"))),
        corrupted=paths.corrupted_facts(FOLDERS.dataset),
        outliers=paths.outlier_facts(FOLDERS.dataset),
        images=ancient(
            RUNTIME.carried([paths.corrupted_images(FOLDERS.dataset), paths.outlier_images(FOLDERS.dataset)])
        ),
    output:
        conditions=paths.shift(FOLDERS.run),
        detection=paths.detection(FOLDERS.run),
    log:
        FOLDERS.log("shift", paths.RUN),
    conda:
        ENVIRONMENT
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.shift.slice(),
        # made together with the facts, which hold their hashes
        corrupted=RUNTIME.beside("corrupted", paths.corrupted_images(FOLDERS.dataset)),
        outliers=RUNTIME.beside("outliers", paths.outlier_images(FOLDERS.dataset)),
        revision=STAGES["shift"].revision,
    shell:
        "layerlottery shift --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --corrupted-images {params.corrupted:q} --corrupted-facts {input.corrupted:q}"
        " --outlier-images {params.outliers:q} --outlier-facts {input.outliers:q}"
        " --output {output.conditions:q} --output-detection {output.detection:q} --threads {threads} --log {log:q}"


rule compare:
    input:
        weights=paths.trained_weights(FOLDERS.pruned),
        dense=paths.trained_weights(FOLDERS.dense),
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "test"))),
    output:
        paths.similarity(FOLDERS.pruned),
    log:
        FOLDERS.log("compare", paths.PRUNED),
    conda:
        ENVIRONMENT
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.compare.slice(),
        revision=STAGES["compare"].revision,
    shell:
        "layerlottery compare --settings {params.settings:q} --weights {input.weights:q} --dense {input.dense:q}"
        " --data {input.data:q} --output {output:q} --threads {threads} --log {log:q}"


# latency is never measured beside another job: Snakemake reduces the threads to all cores of a laptop, and the SLURM
# profile sets them to 1; the measurement itself uses one
rule profile:
    input:
        weights=paths.initial_weights(FOLDERS.network),
        tickets=BENCHMARK.family_tickets,
        data=paths.prepared(FOLDERS.dataset),
    output:
        paths.profile(FOLDERS.dense),
    log:
        FOLDERS.log("profile", paths.DENSE),
    conda:
        ENVIRONMENT
    threads: 1024
    params:
        settings=BENCHMARK.profile.slice(),
        tickets=lambda wildcards, input: [word for ticket in input.tickets for word in ("--ticket", ticket)],
        batch_size=lambda wildcards: BENCHMARK.recipe(wildcards.network).batch_size,
        copies=lambda wildcards: BENCHMARK.recipe(wildcards.network).held_copies,
        revision=STAGES["profile"].revision,
    shell:
        "layerlottery profile --settings {params.settings:q} --weights {input.weights:q} {params.tickets:q}"
        " --data {input.data:q} --batch-size {params.batch_size} --copies {params.copies}"
        " --output {output:q} --threads 1 --log {log:q}"
