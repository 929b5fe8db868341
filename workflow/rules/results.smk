# aggregate -> tabulate -> report, manifest


rule aggregate:
    input:
        # a function: cluster jobs parse this file too, and should not list the results of thousands of networks
        lambda wildcards: BENCHMARK.network_results(),
    output:
        paths.tables(FOLDERS.tables),
    log:
        FOLDERS.log("aggregate"),
    conda:
        ENVIRONMENT
    params:
        settings=BENCHMARK.aggregate_slice(),
        results=subpath(output[0], ancestor=2),
        revision=STAGES["aggregate"].revision,
    shell:
        "layerlottery aggregate --settings {params.settings:q} --results {params.results:q} --log {log:q}"


rule tabulate:
    input:
        paths.tables(FOLDERS.tables),
    output:
        [paths.table(FOLDERS.tables, name, suffix) for name in paths.PAPER for suffix in ("parquet", "tex")],
        [
            report(
                paths.table(FOLDERS.tables, name, "md"),
                caption="../report/table.rst",
                category="The paper's tables",
                labels={"table": name},
            )
            for name in paths.PAPER
        ],
    log:
        FOLDERS.log("tabulate"),
    conda:
        ENVIRONMENT
    params:
        settings=BENCHMARK.tabulate_slice(),
        tables=subpath(input[0], parent=True),
        revision=STAGES["tabulate"].revision,
    shell:
        "layerlottery tabulate --settings {params.settings:q} --tables {params.tables:q} --log {log:q}"


rule manifest:
    input:
        paths.table_files(FOLDERS.tables),
    output:
        FOLDERS.manifest(),
    log:
        FOLDERS.log("manifest"),
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: BENCHMARK.manifest_slice(),
        tables=subpath(input[0], parent=True),
        revision=STAGES["manifest"].revision,
    shell:
        "layerlottery manifest --settings {params.settings:q} --tables {params.tables:q} --output {output:q} --log {log:q}"


rule report:
    input:
        [paths.table(FOLDERS.tables, name) for name in paths.TABLES + paths.PAPER],
    output:
        page=report(FOLDERS.report(), caption="../report/page.rst", category="Report", labels={"what": "the page"}),
        pages=RUNTIME.carried(directory(FOLDERS.pages())),
    log:
        FOLDERS.log("report"),
    conda:
        ENVIRONMENT
    params:
        # a function, since Snakemake expands wildcards in plain text, and a title may contain braces
        settings=lambda wildcards: BENCHMARK.report.slice(),
        tables=subpath(input[0], parent=True),
        revision=STAGES["report"].revision,
    shell:
        "layerlottery report --settings {params.settings:q} --tables {params.tables:q} --output {output.page:q} --log {log:q}"
