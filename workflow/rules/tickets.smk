# initialize -> score -> prune: from random weights to a ticket's initial weights; rewind is in train.smk


rule initialize:
    input:
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(BENCHMARK.asked_arrays)),
    output:
        paths.initial_weights(FOLDERS.network),
    log:
        FOLDERS.log("initialize", paths.NETWORK),
    conda:
        ENVIRONMENT
    params:
        settings=BENCHMARK.network_slice,
        # with `output` among its arguments Snakemake doesn't compare its value: the file may move
        pretrained=lambda wildcards, output: BENCHMARK.weights_option(wildcards),
        # not compared either: more blocks asked for draw no other weights
        asked=lambda wildcards, output: BENCHMARK.asked_option(wildcards),
        draw=0,
        revision=STAGES["initialize"].revision,
    shell:
        "layerlottery initialize --settings {params.settings:q} {params.pretrained:q} {params.asked:q} --data {input.data:q}"
        " --seed {wildcards.seed} --draw {params.draw} --output {output:q} --log {log:q}"


# fresh weights for the control that keeps only a ticket's architecture
use rule initialize as reinitialize with:
    output:
        paths.start_file(f"{FOLDERS.results}/{paths.FRESH_START}"),
    log:
        FOLDERS.log("initialize", paths.FRESH_START),
    params:
        settings=BENCHMARK.untrained_slice,
        pretrained=lambda wildcards, output: [],
        asked=lambda wildcards, output: [],
        draw=1,
        revision=STAGES["initialize"].revision,


rule score:
    input:
        weights=BENCHMARK.scored_weights,
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "train"))),
    output:
        paths.scores(FOLDERS.scored),
    log:
        FOLDERS.log("score", paths.SCORED),
    conda:
        ENVIRONMENT
    threads: BENCHMARK.resources.evaluation_threads
    params:
        settings=BENCHMARK.criterion_slice,
        structure=BENCHMARK.scored_structure,
        revision=STAGES["score"].revision,
    shell:
        "layerlottery score --settings {params.settings:q} --weights {input.weights:q} --data {input.data:q}"
        " --structure {params.structure} --seed {wildcards.seed} --draw {wildcards.draw}"
        " --output {output:q} --threads {threads} --log {log:q}"


use rule score as score_weights with:
    output:
        paths.element_scores(FOLDERS.scored),


rule prune:
    input:
        unpack(BENCHMARK.pruning_inputs),
    output:
        weights=paths.initial_weights(FOLDERS.first),
        facts=paths.ticket_facts(FOLDERS.first),
    log:
        FOLDERS.log("prune", paths.FIRST),
    conda:
        ENVIRONMENT
    params:
        budget=lambda wildcards, input: [word for scores in input.budget for word in ("--budget", scores)],
        data=lambda wildcards, input: [word for facts in input.data for word in ("--data", facts)],
        revision=STAGES["prune"].revision,
    shell:
        "layerlottery prune --weights {input.weights:q} --scores {input.scores:q} {params.budget:q} {params.data:q}"
        " --structure {wildcards.structure} --removed {wildcards.step}"
        " --output {output.weights:q} --output-facts {output.facts:q} --log {log:q}"


# in later rounds: the trained network of the round before
use rule score as score_round with:
    input:
        weights=BENCHMARK.round_before,
        data=paths.prepared(FOLDERS.dataset),
        arrays=ancient(RUNTIME.carried(paths.prepared_arrays(FOLDERS.dataset, "train"))),
    output:
        paths.scores(FOLDERS.round),
    log:
        FOLDERS.log("score", paths.ROUND),


use rule prune as prune_round with:
    input:
        unpack(BENCHMARK.round_inputs),
    output:
        weights=paths.initial_weights(FOLDERS.round),
        facts=paths.ticket_facts(FOLDERS.round),
    log:
        FOLDERS.log("prune", paths.ROUND),
