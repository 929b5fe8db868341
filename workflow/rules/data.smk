# prepare -> corrupt, outliers: one job each per image set; every later job memory-maps their arrays. Other rules name
# only the facts, which hold the arrays' hashes: fewer files for Snakemake to check in each of thousands of jobs. Where
# jobs share no file system (RUNTIME.carried) they name the arrays as well


rule prepare:
    output:
        facts=paths.prepared(FOLDERS.dataset),
        arrays=paths.prepared_arrays(FOLDERS.dataset),
    log:
        FOLDERS.log("prepare", paths.DATASET),
    conda:
        ENVIRONMENT
    params:
        settings=BENCHMARK.dataset_slice,
        folder=subpath(output.facts, parent=True),
        revision=STAGES["prepare"].revision,
    shell:
        "layerlottery prepare --settings {params.settings:q} --output {params.folder:q} --log {log:q}"


rule corrupt:
    input:
        ancient(paths.prepared_arrays(FOLDERS.dataset)),
        data=paths.prepared(FOLDERS.dataset),
    output:
        images=paths.corrupted_images(FOLDERS.dataset),
        facts=paths.corrupted_facts(FOLDERS.dataset),
    log:
        FOLDERS.log("corrupt", paths.DATASET),
    conda:
        ENVIRONMENT
    params:
        settings=BENCHMARK.corruptions.slice(),
        official=BENCHMARK.official_slice,
        revision=STAGES["corrupt"].revision,
    shell:
        "layerlottery corrupt --settings {params.settings:q} --official {params.official:q} --data {input.data:q}"
        " --output-images {output.images:q} --output-facts {output.facts:q} --log {log:q}"


rule outliers:
    input:
        ancient(paths.prepared_arrays(FOLDERS.dataset)),
        data=paths.prepared(FOLDERS.dataset),
    output:
        images=paths.outlier_images(FOLDERS.dataset),
        facts=paths.outlier_facts(FOLDERS.dataset),
    log:
        FOLDERS.log("outliers", paths.DATASET),
    conda:
        ENVIRONMENT
    params:
        # a function, since Snakemake expands wildcards in plain text, and a folder's name may contain braces
        settings=lambda wildcards: BENCHMARK.outliers.slice(),
        revision=STAGES["outliers"].revision,
    shell:
        "layerlottery outliers --settings {params.settings:q} --data {input.data:q}"
        " --output-images {output.images:q} --output-facts {output.facts:q} --log {log:q}"
