# initialize -> score -> prune: from random weights to a ticket's initial weights


rule initialize:
    input:
        data=paths.prepared(FOLDERS.dataset),
    output:
        paths.initial_weights(FOLDERS.dense),
    log:
        FOLDERS.log("initialize", paths.DENSE),
    conda:
        "../../envs/layerlottery.yaml"
    params:
        settings=BENCHMARK.network_slice,
        revision=REVISIONS["initialize"],
    shell:
        "layerlottery initialize --settings {params.settings:q} --data {input.data:q}"
        " --seed {wildcards.seed} --output {output:q} --log {log:q}"


rule score:
    input:
        weights=BENCHMARK.scored_weights,
        data=paths.prepared(FOLDERS.dataset),
        arrays=paths.prepared_arrays(FOLDERS.dataset),
    output:
        paths.scores(FOLDERS.scored),
    log:
        FOLDERS.log("score", paths.SCORED),
    conda:
        "../../envs/layerlottery.yaml"
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.criterion_slice,
        revision=REVISIONS["score"],
    shell:
        "layerlottery score --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --seed {wildcards.seed} --output {output:q} --threads {threads} --log {log:q}"


rule prune:
    input:
        weights=paths.initial_weights(FOLDERS.dense),
        scores=paths.scores(FOLDERS.scored),
    output:
        weights=paths.initial_weights(FOLDERS.ticket),
        facts=paths.ticket_facts(FOLDERS.ticket),
    log:
        FOLDERS.log("prune", paths.TICKET),
    conda:
        "../../envs/layerlottery.yaml"
    params:
        revision=REVISIONS["prune"],
    shell:
        "layerlottery prune --weights {input.weights:q} --scores {input.scores:q} --density {wildcards.density}"
        " --output {output.weights:q} --output-facts {output.facts:q} --log {log:q}"
