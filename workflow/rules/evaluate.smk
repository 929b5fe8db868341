# attack, shift: one job each per trained network; compare: one per ticket; profile: one per dense network and all
# its tickets


rule attack:
    input:
        ancient(paths.prepared_arrays(FOLDERS.dataset, "test")),
        weights=paths.trained_weights(FOLDERS.run),
        data=paths.prepared(FOLDERS.dataset),
    output:
        paths.attack(FOLDERS.run),
    log:
        FOLDERS.log("attack", paths.RUN),
    conda:
        "../../envs/layerlottery.yaml"
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.attack.slice(),
        revision=REVISIONS["attack"],
    shell:
        "layerlottery attack --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --output {output:q} --threads {threads} --log {log:q}"


rule shift:
    input:
        ancient(paths.prepared_arrays(FOLDERS.dataset, "test", "shifted")),
        weights=paths.trained_weights(FOLDERS.run),
        data=paths.prepared(FOLDERS.dataset),
        images=paths.corrupted_images(FOLDERS.dataset),
        facts=paths.corrupted_facts(FOLDERS.dataset),
    output:
        paths.shift(FOLDERS.run),
    log:
        FOLDERS.log("shift", paths.RUN),
    conda:
        "../../envs/layerlottery.yaml"
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.shift.slice(),
        revision=REVISIONS["shift"],
    shell:
        "layerlottery shift --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --corrupted-images {input.images:q} --corrupted-facts {input.facts:q}"
        " --output {output:q} --threads {threads} --log {log:q}"


rule compare:
    input:
        ancient(paths.prepared_arrays(FOLDERS.dataset, "test")),
        weights=paths.trained_weights(FOLDERS.pruned),
        dense=paths.trained_weights(FOLDERS.dense),
        data=paths.prepared(FOLDERS.dataset),
    output:
        paths.similarity(FOLDERS.pruned),
    log:
        FOLDERS.log("compare", paths.PRUNED),
    conda:
        "../../envs/layerlottery.yaml"
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.compare.slice(),
        revision=REVISIONS["compare"],
    shell:
        "layerlottery compare --settings {params.settings:q} --weights {input.weights:q} --dense {input.dense:q}"
        " --data {input.data:q} --output {output:q} --threads {threads} --log {log:q}"


# latency is never measured beside another job: Snakemake scales the threads down to every core of a laptop, and the
# SLURM profile sets them to 1; the measurement itself uses one
rule profile:
    input:
        weights=paths.initial_weights(FOLDERS.dense),
        tickets=BENCHMARK.family_tickets,
        data=paths.prepared(FOLDERS.dataset),
    output:
        paths.profile(FOLDERS.dense),
    log:
        FOLDERS.log("profile", paths.DENSE),
    conda:
        "../../envs/layerlottery.yaml"
    threads: 1024
    params:
        settings=BENCHMARK.profile.slice(),
        tickets=lambda wildcards, input: [word for ticket in input.tickets for word in ("--ticket", ticket)],
        batch_size=BENCHMARK.training.batch_size,
        revision=REVISIONS["profile"],
    shell:
        "layerlottery profile --settings {params.settings:q} --weights {input.weights:q} {params.tickets:q}"
        " --data {input.data:q} --batch-size {params.batch_size} --output {output:q} --threads 1 --log {log:q}"
