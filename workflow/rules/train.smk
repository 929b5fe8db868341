# train: the same command for dense networks and tickets; a ticket shares its dense network's seed and data order


rule train_dense:
    input:
        weights=paths.initial_weights(FOLDERS.dense),
        data=paths.prepared(FOLDERS.dataset),
        arrays=paths.prepared_arrays(FOLDERS.dataset),
    output:
        weights=paths.trained_weights(FOLDERS.dense),
        curve=paths.curve(FOLDERS.dense),
        facts=paths.training_facts(FOLDERS.dense),
    log:
        FOLDERS.log("train", paths.DENSE),
    conda:
        "../../envs/layerlottery.yaml"
    threads: BENCHMARK.resources.training_threads
    params:
        settings=BENCHMARK.training.slice(),
        folder=subpath(output.facts, parent=True),
        # not an output: it must outlive a failed job
        checkpoint=FOLDERS.checkpoint(paths.DENSE),
        revision=REVISIONS["train"],
    shell:
        "layerlottery train --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --seed {wildcards.seed} --output {params.folder:q} --checkpoint {params.checkpoint:q}"
        " --threads {threads} --log {log:q}"


use rule train_dense as train_ticket with:
    input:
        weights=paths.initial_weights(FOLDERS.ticket),
        data=paths.prepared(FOLDERS.dataset),
        arrays=paths.prepared_arrays(FOLDERS.dataset),
    output:
        weights=paths.trained_weights(FOLDERS.ticket),
        curve=paths.curve(FOLDERS.ticket),
        facts=paths.training_facts(FOLDERS.ticket),
    log:
        FOLDERS.log("train", paths.TICKET),
    params:
        settings=BENCHMARK.training.slice(),
        folder=subpath(output.facts, parent=True),
        checkpoint=FOLDERS.checkpoint(paths.TICKET),
        revision=REVISIONS["train"],
