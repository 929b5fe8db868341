# aggregate -> report


rule aggregate:
    input:
        BENCHMARK.network_results(),
    output:
        [paths.table(FOLDERS.tables, name) for name in TABLES],
    params:
        settings=BENCHMARK.aggregate_slice(),
        results=BENCHMARK.results,
        revision=REVISIONS["aggregate"],
    log:
        FOLDERS.log("aggregate"),
    conda:
        "../../envs/layerlottery.yaml"
    shell:
        "layerlottery aggregate --settings {params.settings:q} --results {params.results:q} --log {log:q}"


rule report:
    input:
        [paths.table(FOLDERS.tables, name) for name in TABLES],
    output:
        FOLDERS.report(),
    params:
        settings=BENCHMARK.report.slice(),
        tables=FOLDERS.tables,
        revision=REVISIONS["report"],
    log:
        FOLDERS.log("report"),
    conda:
        "../../envs/layerlottery.yaml"
    shell:
        "layerlottery report --settings {params.settings:q} --tables {params.tables:q} --output {output:q} --log {log:q}"
