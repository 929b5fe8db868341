# prepare -> corrupt: one job each per image set; every later job memory-maps their arrays. Elsewhere these are ancient:
# facts.json holds their hashes, so it alone says whether they changed


rule prepare:
    output:
        facts=paths.prepared(FOLDERS.dataset),
        arrays=paths.prepared_arrays(FOLDERS.dataset),
    log:
        FOLDERS.log("prepare", paths.DATASET),
    conda:
        "../../envs/layerlottery.yaml"
    params:
        settings=BENCHMARK.dataset_slice,
        folder=subpath(output.facts, parent=True),
        revision=REVISIONS["prepare"],
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
        "../../envs/layerlottery.yaml"
    params:
        settings=BENCHMARK.corruptions.slice(),
        revision=REVISIONS["corrupt"],
    shell:
        "layerlottery corrupt --settings {params.settings:q} --data {input.data:q}"
        " --output-images {output.images:q} --output-facts {output.facts:q} --log {log:q}"
